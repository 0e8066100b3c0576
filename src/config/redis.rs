//! L4: the flags that say which Redis, and how it is reached by TLS.

use super::draft::ServerDraft;
use super::redis_url;
use super::sources;
use super::table::Absent::Words;
use super::table::Takes::{Repeated, Text};
use super::table::{Flag, Wrong, put};
use super::values::quoted;
use crate::broker::spread::MOST_NODES;
use crate::broker::{RedisAddress, RedisSettings, Sentinels, Sharding};
use crate::link::Target;
use crate::net::{AskError, ClientTls, Pair, PairError, PemFile};

/// Where it is, or where they are.
pub(super) const URL: Flag<ServerDraft> = Flag {
    name: "redis",
    variable: "WSLOOP_REDIS",
    takes: Repeated("URL", |draft, text| {
        redis_url::each(text).try_for_each(|url| add(&mut draft.redis, url))
    }),
    default: Words("none, an embedded broker"),
    help: "Redis to relay from and to: `redis://[user:password@]host[:port][/db]`, `rediss://` by \
           TLS (or `valkey://`, `valkeys://`), `redis+unix:///path?db=N`, \
           `redis+sentinel://host,host/NAME[/db]` where sentinels say which it is, or \
           `redis+cluster://host,host` with some nodes of a cluster. Given several \
           times, or as several URLs with a space between, channels are spread over all of them \
           in this order, and sessions are at the first; at most 64",
};

/// How the channels of a cluster are heard.
pub(super) const SHARDED: Flag<ServerDraft> = Flag {
    name: "redis-sharded",
    variable: "WSLOOP_REDIS_SHARDED",
    takes: Text("off|both|on", |draft, text| put(&mut draft.redis_sharded, form(text).map(Some))),
    default: Words("off"),
    help: "How the channels of a `redis+cluster://` are heard and published on: `off` by SUBSCRIBE \
           and PUBLISH, whose messages go to all nodes; `on` by SSUBSCRIBE and SPUBLISH, whose \
           messages stay at one shard, so that all who publish must use SPUBLISH; `both` while \
           some of them still use PUBLISH",
};

/// A replica of it.
pub(super) const REPLICA: Flag<ServerDraft> = Flag {
    name: "redis-replica",
    variable: "WSLOOP_REDIS_REPLICA",
    takes: Text("URL", |draft, text| {
        put(&mut draft.redis_replica, redis_url::parse(text).map(Some))
    }),
    default: Words("none"),
    help: "Replica of `--redis` that is heard and read in its place, so that the master only \
           publishes and stores: `redis://`, `rediss://` or `redis+unix://`. Sessions and \
           `wsloop:control` stay at the master, and so does everything else while the replica is \
           of no use",
};

/// Who to be for the sentinels.
pub(super) const SENTINEL_USER: Flag<ServerDraft> = Flag {
    name: "redis-sentinel-user",
    variable: "WSLOOP_REDIS_SENTINEL_USER",
    takes: Text("NAME", |draft, text| put(&mut draft.sentinels.user, Ok(Some(text.to_owned())))),
    default: Words("their default user"),
    help: SENTINEL_USER_HELP,
};

/// What to tell them.
pub(super) const SENTINEL_PASSWORD: Flag<ServerDraft> = Flag {
    name: "redis-sentinel-password",
    variable: "WSLOOP_REDIS_SENTINEL_PASSWORD",
    takes: Text("FILE", |draft, text| put(&mut draft.sentinels.password, password(text).map(Some))),
    default: Words("none"),
    help: SENTINEL_PASSWORD_HELP,
};

/// Whom it is believed from.
pub(super) const CA: Flag<ServerDraft> = Flag {
    name: "redis-ca",
    variable: "WSLOOP_REDIS_CA",
    takes: Text("FILE", |draft, text| put(&mut draft.redis_tls.ca, file(text))),
    default: Words("the authorities of this system"),
    help: CA_HELP,
};

/// What is shown to it.
pub(super) const CERT: Flag<ServerDraft> = Flag {
    name: "redis-cert",
    variable: "WSLOOP_REDIS_CERT",
    takes: Text("FILE", |draft, text| put(&mut draft.redis_tls.cert, file(text))),
    default: Words("none"),
    help: CERT_HELP,
};

/// Its key.
pub(super) const KEY: Flag<ServerDraft> = Flag {
    name: "redis-key",
    variable: "WSLOOP_REDIS_KEY",
    takes: Text("FILE", |draft, text| put(&mut draft.redis_tls.key, file(text))),
    default: Words("none"),
    help: KEY_HELP,
};

/// Its name.
pub(super) const NAME: Flag<ServerDraft> = Flag {
    name: "redis-server-name",
    variable: "WSLOOP_REDIS_SERVER_NAME",
    takes: Text("NAME", |draft, text| put(&mut draft.redis_tls.name, Ok(text.to_owned()))),
    default: Words("the host of the URL"),
    help: NAME_HELP,
};

/// What they say of themselves, wherever there are such flags.
pub(crate) const SENTINEL_USER_HELP: &str =
    "User to be for the sentinels of a `redis+sentinel://` Redis; the one in the URL is for Redis";
pub(crate) const SENTINEL_PASSWORD_HELP: &str = "File with the password for the sentinels";
pub(crate) const CA_HELP: &str =
    "PEM file with the authority that has signed the certificate of a `rediss://` Redis";
pub(crate) const CERT_HELP: &str = "PEM file with the certificate to show to it, if it wants one";
pub(crate) const KEY_HELP: &str = "PEM file with the private key of that certificate";
pub(crate) const NAME_HELP: &str = "Name that its certificate is to be for";

/// How a Redis is reached by TLS, in files.
#[derive(Default)]
pub(crate) struct RedisTlsDraft {
    pub ca: Option<PemFile>,
    pub cert: Option<PemFile>,
    pub key: Option<PemFile>,
    pub name: Option<String>,
}

impl RedisTlsDraft {
    /// Completes these Redis: who to be for their sentinels, how a cluster is heard, and how those
    /// are asked by TLS that are.
    pub(super) fn finish_for(
        self,
        sentinels: SentinelsDraft,
        sharded: Option<Sharding>,
        redis: &mut [RedisSettings],
    ) -> Result<Option<ClientTls>, Wrong> {
        sentinels.finish(redis)?;
        if let Some(sharded) = sharded {
            let Some(RedisSettings { address: RedisAddress::Cluster(cluster), .. }) =
                redis.first_mut()
            else {
                let why = "is for a cluster, which is named with --redis redis+cluster://…";
                return Err(Wrong { flag: "redis-sharded", why: why.to_owned() });
            };
            cluster.form = sharded;
        }
        self.finish(&*redis)
    }

    /// How those of these Redis are asked that are by TLS, if any is.
    pub(crate) fn finish<'r>(
        self,
        redis: impl IntoIterator<Item = &'r RedisSettings>,
    ) -> Result<Option<ClientTls>, Wrong> {
        let wrong = |flag, why: &str| Err(Wrong { flag, why: why.to_owned() });
        if !redis.into_iter().any(|redis| redis.address.is_tls()) {
            let why = "is for TLS, which is spoken with --redis rediss://…";
            return match self {
                RedisTlsDraft { ca: Some(_), .. } => wrong("redis-ca", why),
                RedisTlsDraft { cert: Some(_), .. } => wrong("redis-cert", why),
                RedisTlsDraft { key: Some(_), .. } => wrong("redis-key", why),
                RedisTlsDraft { name: Some(_), .. } => wrong("redis-server-name", why),
                _ => Ok(None),
            };
        }
        let pair = match (self.cert, self.key) {
            (Some(chain), Some(key)) => Some(Pair { chain, key }),
            (None, None) => None,
            (Some(_), None) => return wrong("redis-cert", "has no key; give --redis-key"),
            (None, Some(_)) => return wrong("redis-key", "is no one's; give --redis-cert"),
        };
        let asked = ClientTls::new(self.ca.as_ref(), pair.as_ref(), self.name.as_deref());
        asked.map(Some).map_err(|error| match error {
            AskError::Authority(why) => Wrong { flag: "redis-ca", why },
            AskError::Pair(PairError::Chain(why)) => Wrong { flag: "redis-cert", why },
            AskError::Pair(PairError::Key(why)) => Wrong { flag: "redis-key", why },
            AskError::Name(why) => Wrong { flag: "redis-server-name", why },
        })
    }
}

/// Who to be for sentinels.
#[derive(Default)]
pub(crate) struct SentinelsDraft {
    pub user: Option<String>,
    pub password: Option<String>,
}

impl SentinelsDraft {
    /// Completes those Redis that sentinels watch.
    pub(crate) fn finish(self, redis: &mut [RedisSettings]) -> Result<(), Wrong> {
        let wrong = |flag, why: &str| Err(Wrong { flag, why: why.to_owned() });
        let watched = redis.iter_mut().filter_map(|redis| match &mut redis.address {
            RedisAddress::Watched(sentinels) => Some(sentinels),
            RedisAddress::Fixed(_) | RedisAddress::Replica(_) | RedisAddress::Cluster(_) => None,
        });
        let watched: Vec<&mut Sentinels> = watched.collect();
        match (&self.user, &self.password) {
            (None, None) => return Ok(()),
            (Some(_), _) if watched.is_empty() => {
                return wrong("redis-sentinel-user", NO_SENTINELS);
            }
            (_, Some(_)) if watched.is_empty() => {
                return wrong("redis-sentinel-password", NO_SENTINELS);
            }
            (Some(_), None) => {
                let why = "has no password; give --redis-sentinel-password";
                return wrong("redis-sentinel-user", why);
            }
            (_, Some(_)) => {}
        }
        for sentinels in watched {
            (sentinels.user, sentinels.password) = (self.user.clone(), self.password.clone());
        }
        Ok(())
    }
}

/// How the channels of a cluster are heard.
fn form(text: &str) -> Result<Sharding, String> {
    match text {
        "off" => Ok(Sharding::Off),
        "both" => Ok(Sharding::Both),
        "on" => Ok(Sharding::On),
        other => Err(format!("{} is none of off, both and on", quoted(other))),
    }
}

const NO_SENTINELS: &str = "is for sentinels, which are named with --redis redis+sentinel://…";

/// The password in a file.
pub(crate) fn password(path: &str) -> Result<String, String> {
    String::from_utf8(sources::password(path)?)
        .map_err(|_| format!("{}: the password is not UTF-8", quoted(path)))
}

/// One Redis more.
pub(crate) fn add(all: &mut Vec<RedisSettings>, url: &str) -> Result<(), String> {
    let place = match all.len() {
        0 => String::new(),
        before => format!("URL {}: ", before + 1),
    };
    let redis = redis_url::parse(url).map_err(|why| format!("{place}{why}"))?;
    if let Some(at) = all.iter().position(|other| place_of(other) == place_of(&redis)) {
        return Err(format!(
            "{place}{} is URL {} too; give each Redis once, as all databases of one share their \
             channels",
            redis.address,
            at + 1
        ));
    }
    let is_cluster = |redis: &RedisSettings| matches!(redis.address, RedisAddress::Cluster(_));
    if !all.is_empty() && (is_cluster(&redis) || all.iter().any(is_cluster)) {
        return Err(format!(
            "{place}a cluster is beside another Redis; give the cluster alone, as it spreads \
             channels over its nodes by itself"
        ));
    }
    if all.len() == MOST_NODES {
        return Err(format!("there are more than {MOST_NODES}; give no more"));
    }
    all.push(redis);
    Ok(())
}

/// Has a replica stand behind its master.
pub(super) fn with_replica(
    all: &mut Vec<RedisSettings>,
    replica: Option<RedisSettings>,
) -> Result<(), Wrong> {
    let Some(replica) = replica else { return Ok(()) };
    let wrong = |why: String| Err(Wrong { flag: "redis-replica", why });
    let RedisAddress::Fixed(target) = &replica.address else {
        let why = "is one Redis; write redis://HOST:PORT, rediss:// for TLS, or redis+unix:///PATH";
        return wrong(why.to_owned());
    };
    let [master] = &all[..] else {
        return wrong(match all.is_empty() {
            true => "is a replica of --redis; give that, too".to_owned(),
            false => format!(
                "is a replica of one --redis, but there are {}; give one, or leave it out",
                all.len()
            ),
        });
    };
    if let RedisAddress::Cluster(_) = &master.address {
        let why = "is beside a cluster, whose messages are at its masters; leave it out";
        return wrong(why.to_owned());
    }
    if place_of(master) == place_of(&replica) {
        return wrong("is --redis itself; give a replica of it, or leave it out".to_owned());
    }
    if replica.db != 0 && replica.db != master.db {
        return wrong(format!(
            "names database {}, but what is stored is in database {} of --redis; leave it out of \
             the URL",
            replica.db, master.db
        ));
    }
    let address = RedisAddress::Replica(target.clone());
    let db = master.db;
    all.push(RedisSettings { address, db, ..replica });
    Ok(())
}

/// Where a Redis is, however that is written.
fn place_of(redis: &RedisSettings) -> (Option<&str>, Vec<String>) {
    let (name, targets) = match &redis.address {
        RedisAddress::Fixed(target) | RedisAddress::Replica(target) => {
            (None, std::slice::from_ref(target))
        }
        RedisAddress::Watched(sentinels) => (Some(sentinels.name.as_str()), &sentinels.targets[..]),
        RedisAddress::Cluster(cluster) => (None, &cluster.seeds[..]),
    };
    let place = |target: &Target| match target {
        Target::Unix(path) => path.display().to_string(),
        Target::Tcp { .. } | Target::Tls { .. } => target.to_string().to_ascii_lowercase(),
    };
    let mut places: Vec<String> = targets.iter().map(place).collect();
    places.sort();
    (name, places)
}

/// A PEM file.
pub(crate) fn file(text: &str) -> Result<PemFile, String> {
    sources::read(text).map(|(path, text)| PemFile { path, text })
}
