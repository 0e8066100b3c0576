//! What the program itself, its tests, fuzz targets and benchmarks need besides the public face.

pub mod access {
    pub mod ask {
        pub use crate::access::ask::{
            Application, AskSettings, Errand, Failure, Full, Granted, Verdict, Wrong, question,
        };
    }
    pub mod channel {
        pub use crate::access::channel::facility;
    }
    pub mod identity {
        pub use crate::access::identity::{
            Identity, MAX_GROUPS, NameError, Named, Refused, check_name, secret,
        };
    }
    pub mod proxies {
        pub use crate::access::proxies::{Client, Told};
    }
    pub mod session {
        pub use crate::access::session::{MAX_STORED, SessionError, decode, session_key};
    }
    pub mod token {
        pub use crate::access::token::{Claims, Judge, MAX_TOKEN, TokenError, find_token, verify};
    }
}

pub mod broker {
    pub use crate::broker::{Broker, BrokerSettings, Uses, Watch};

    pub mod cluster {
        pub use crate::broker::cluster::{Map, Member, Shard, of_info, of_redirection};
    }

    pub mod replica {
        pub use crate::broker::replica::Replication;
    }

    pub mod history {
        pub use crate::broker::history::Offset;
        pub use crate::broker::history::look::{Looked, Missed};
        pub use crate::broker::history::position::Position;
        pub use crate::broker::history::reading::{Place, Since};
    }

    pub mod client {
        pub use crate::broker::client::{Heard, PubSub, RespClient, Step};
    }
}

pub mod browser {
    pub use crate::browser::Context;
    pub use crate::browser::endpoint::Order;

    pub mod handshake {
        pub use crate::browser::admitting::admit;
        pub use crate::browser::handshake::{Decision, Examined, examine};
    }
}

pub mod config {
    pub use crate::config::{Changes, Check, Config, LogForm, LogFormat};
}

pub mod link {
    pub mod timers {
        pub use crate::link::timers::TICK_MS;
    }
}

pub mod net {
    pub use crate::net::{
        AdminSockets, HangUps, Master, MasterRemote, Notify, ReactorError, Remote, RespSockets,
        TlsUses, Worker, listen,
    };
}

pub mod tool {
    pub use crate::tool::{Command, Stop};

    pub mod stress {
        pub use crate::tool::stress::{Plan, run};
    }
}
