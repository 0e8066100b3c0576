//! Who there is, how one shows it, and what one may then hear and say: as the documentation has it.

use super::super::world::token;
use super::Dice;

/// The facilities there are; few, so that conns meet. For the last, `latest` may be wanted.
pub const FACILITIES: [&str; 3] = ["a", "b", "c"];
const USERS: [&str; 2] = ["ann", "bob"];
const GROUPS: [&str; 2] = ["red", "blue"];
/// The keys of sessions.
pub const KEYS: [&str; 3] = ["key-of-one", "key-of-two", "key-of-three"];
const AUDIENCES: [&str; 4] = ["broadcast", "group", "user", "session"];

/// Options to subscribe, in the order of the audiences, and to publish, from the bit 1 << 4 on.
pub type Options = u8;
/// `subscribe-broadcast`.
pub const HEARS_ALL: Options = 1;
/// `publish-broadcast`.
pub const SPEAKS_TO_ALL: Options = 1 << 4;

/// Lists of options as `--allow`, tokens and the application have them, and what they allow.
pub const ALLOWS: [(&str, Options); 4] = [
    ("all", 0xff),
    ("subscribe-broadcast,subscribe-user,publish-broadcast", 0b0001_0101),
    ("subscribe-group,subscribe-session,publish-group,publish-user", 0b0110_1010),
    ("", 0),
];

/// A session, a user, groups: all that somebody is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    pub session: Option<String>,
    pub user: Option<String>,
    pub groups: Vec<String>,
}

/// User and groups, as they are kept somewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    user: Option<usize>,
    groups: usize,
}

/// What is stored as a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Session {
    Good(Standing),
    Broken,
    /// Longer than a message may be.
    TooLong,
}

/// A token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    standing: Standing,
    key: Option<usize>,
    /// The place in [`ALLOWS`] of what it narrows to.
    pub allow: Option<usize>,
    /// In how many milliseconds it expires.
    pub lasts_ms: Option<u64>,
    /// It is signed with something else.
    pub forged: bool,
    /// It comes in a header, or in the query.
    in_header: bool,
}

/// What a conn may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grant {
    pub subscribe: Vec<String>,
    pub publish: Vec<String>,
    /// What the header X-Wsloop-Granted says, without what needs no permission.
    pub options: Vec<String>,
}

impl Identity {
    /// Whose conns these are, as control messages name them.
    pub fn owners(&self) -> Vec<String> {
        let of = |audience: usize| {
            self.names(audience).into_iter().map(move |name| [AUDIENCES[audience], &name].join(":"))
        };
        [of(2), of(1), of(3)].into_iter().flatten().collect()
    }

    /// The names that channels of an audience have for this one.
    fn names(&self, audience: usize) -> Vec<String> {
        match audience {
            1 => self.groups.clone(),
            2 => self.user.clone().into_iter().collect(),
            _ => self.session.clone().into_iter().collect(),
        }
    }

    /// The channels that come of options which are permitted.
    pub fn grant(&self, prefix: &str, facility: &str, permitted: Options) -> Grant {
        let mut grant = Grant::default();
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}:") };
        let mut spoken = Vec::new();
        for (at, audience) in AUDIENCES.iter().enumerate() {
            let name = |who: String| format!("{prefix}{audience}:{who}{facility}");
            let names: Vec<String> = match at {
                0 => vec![name(String::new())],
                _ => self.names(at).into_iter().map(|who| name(format!("{who}:"))).collect(),
            };
            if permitted & (1 << at) != 0 && !names.is_empty() {
                grant.options.push(format!("subscribe-{audience}"));
                grant.subscribe.extend_from_slice(&names);
            }
            if permitted & (1 << (at + 4)) != 0 && !names.is_empty() {
                spoken.push(format!("publish-{audience}"));
                grant.publish.extend(names);
            }
        }
        grant.options.extend(spoken);
        grant
    }
}

/// The names of options.
pub fn option_names(options: Options) -> Vec<String> {
    let names = ["subscribe", "publish"]
        .into_iter()
        .flat_map(|way| AUDIENCES.into_iter().map(move |audience| format!("{way}-{audience}")));
    names.enumerate().filter(|(at, _)| options & (1 << at) != 0).map(|(_, name)| name).collect()
}

/// Any channel that somebody may hear.
pub fn any_channel(dice: &mut Dice<'_>, prefix: &str) -> String {
    let facility = dice.pick(&FACILITIES);
    let key = dice.below(KEYS.len());
    let all = Standing::draw(dice).identity(Some(key)).grant(prefix, facility, 0b1111).subscribe;
    all[dice.below(all.len())].clone()
}

/// Somebody's conns, as control messages name them.
pub fn any_owner(dice: &mut Dice<'_>) -> (&'static str, &'static str) {
    match dice.below(3) {
        0 => ("user", dice.pick(&USERS)),
        1 => ("group", dice.pick(&GROUPS)),
        _ => ("session", dice.pick(&KEYS)),
    }
}

impl Standing {
    pub fn draw(dice: &mut Dice<'_>) -> Standing {
        let user = (!dice.once_in(5)).then(|| dice.below(USERS.len()));
        Standing { user, groups: dice.below(1 << GROUPS.len()) }
    }

    /// With the session of that key.
    pub fn identity(self, key: Option<usize>) -> Identity {
        Identity {
            session: key.map(|key| KEYS[key].to_owned()),
            user: self.user.map(|user| USERS[user].to_owned()),
            groups: self.groups().into_iter().map(str::to_owned).collect(),
        }
    }

    /// Always in the same order, so that stored messages can come in the order of every conn.
    pub fn groups(self) -> Vec<&'static str> {
        let groups = GROUPS.into_iter().enumerate();
        groups.filter(|(at, _)| self.groups & (1 << at) != 0).map(|(_, name)| name).collect()
    }

    pub fn user(self) -> Option<&'static str> {
        self.user.map(|user| USERS[user])
    }

    fn all() -> impl Iterator<Item = Standing> {
        let users = [None].into_iter().chain((0..USERS.len()).map(Some));
        users.flat_map(|user| (0..1 << GROUPS.len()).map(move |groups| Standing { user, groups }))
    }

    fn json(self) -> String {
        let user = self.user().map_or("null".to_owned(), |user| format!("{user:?}"));
        format!(r#"{{"user": {user}, "groups": {:?}}}"#, self.groups())
    }
}

impl Session {
    pub fn draw(dice: &mut Dice<'_>) -> Session {
        match dice.below(12) {
            0 => Session::Broken,
            1 => Session::TooLong,
            _ => Session::Good(Standing::draw(dice)),
        }
    }

    /// As it is stored, where no message may have more bytes than that.
    pub fn bytes(self, max_message: usize) -> Vec<u8> {
        match self {
            Session::Good(standing) => standing.json().into_bytes(),
            Session::Broken => b"no JSON".to_vec(),
            Session::TooLong => vec![b' '; max_message + 1],
        }
    }

    /// What is stored, if it can be read.
    pub fn read(stored: &[u8]) -> Option<Standing> {
        Standing::all().find(|standing| standing.json().as_bytes() == stored)
    }
}

impl Token {
    pub fn draw(dice: &mut Dice<'_>) -> Token {
        Token {
            standing: Standing::draw(dice),
            key: dice.once_in(3).then(|| dice.below(KEYS.len())),
            allow: dice.once_in(4).then(|| dice.below(ALLOWS.len())),
            lasts_ms: dice.once_in(3).then(|| dice.below(6_000) as u64),
            forged: dice.once_in(16),
            in_header: dice.below(2) == 0,
        }
    }

    pub fn identity(&self) -> Identity {
        self.standing.identity(self.key)
    }

    /// The token at that time of day, as a parameter of the query or as a header.
    pub fn write(&self, unix_ms: u64) -> Result<String, String> {
        let mut claims = vec![format!(r#""groups": {:?}"#, self.standing.groups())];
        claims.extend(self.standing.user().map(|user| format!(r#""sub": {user:?}"#)));
        claims.extend(self.key.map(|key| format!(r#""sid": {:?}"#, KEYS[key])));
        claims.extend(self.allow.map(|allow| format!(r#""allow": {:?}"#, ALLOWS[allow].0)));
        let end_ms = self.lasts_ms.map(|lasts_ms| unix_ms + lasts_ms);
        claims.extend(end_ms.map(|ms| format!(r#""exp": {}.{:03}"#, ms / 1000, ms % 1000)));
        let mut token = token(&format!("{{{}}}", claims.join(", ")));
        if self.forged {
            // The first letter of the signature stands for six whole bits.
            let at = token.rfind('.').expect("it has a signature") + 1;
            let other = if token[at..].starts_with('A') { "B" } else { "A" };
            token.replace_range(at..=at, other);
        }
        match self.in_header {
            true => Err(format!("Authorization: Bearer {token}")),
            false => Ok(format!("token={token}")),
        }
    }
}
