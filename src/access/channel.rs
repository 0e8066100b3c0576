//! L1: which Redis channels a conn hears and publishes to: URL, query options and identity in,
//! channel names out.
//!
//! It knows nothing of sockets, of the broker, of who may do what, or of how an identity was found
//! out. Names, options and facilities are those of ws4redis, so that backends which publish for it
//! are understood: the name of a pub/sub channel and the key of its stored message are the same
//! string, `[prefix:]broadcast:facility` or `[prefix:]audience:who:facility`.
//!
//! # Every name means one thing
//!
//! Nothing in a name is escaped, and yet no two of these spell the same name, because
//!
//! - no part of a prefix between colons is the word of an audience ([`is_prefix`]): the first such
//!   part of a name ends its prefix, so that servers with different prefixes never meet in a name,
//!   though one prefix begin with the other or be empty;
//! - with a user, group or session asked for, a facility has no colon ([`is_ambiguous`]): what is
//!   behind the last colon is the facility, and who comes before it may hold any colons. A
//!   broadcast facility may hold them too, for nothing else is in its name. Colons are looked for
//!   when the path is decoded, and the percent escapes that are then left are text;
//! - an empty facility still has its colon, and an empty name of somebody gives no channel.
//!
//! What else lives in the same Redis database is the operator's to name otherwise: a key
//! `user:john:cart` of an application reads as john's channel for the facility `cart`, which he
//! would be sent and could overwrite. With keys of stored sessions that must not be
//! ([`reads_as_channel`] tells): `session:KEY` is no channel, for those have a colon more, but
//! `session:KEY:data` is one. A prefix of its own keeps wsloop apart from everything.

use std::borrow::Cow;
use std::fmt;

pub use crate::access::facility::facility;
pub(crate) use crate::access::facility::path_of;
use crate::access::identity::Identity;
use crate::access::naming::put_names;
use crate::access::nearest::nearest;

/// Who a channel is for. Its order is that of a conn's channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Audience {
    /// Everybody.
    Broadcast,
    /// The members of a group.
    Group,
    /// One user, on all devices.
    User,
    /// One session of the application.
    Session,
}

impl Audience {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Broadcast, Self::Group, Self::User, Self::Session];

    /// The word for it, in names and in options.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Broadcast => "broadcast",
            Self::Group => "group",
            Self::User => "user",
            Self::Session => "session",
        }
    }

    /// The audience of that word.
    pub(crate) fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|audience| audience.word() == word)
    }

    const fn subscribe_bit(self) -> u16 {
        1 << self as u16
    }

    const fn publish_bit(self) -> u16 {
        self.subscribe_bit() << 4
    }
}

/// Which way messages go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the broker to the conn.
    Subscribe,
    /// From the conn to the broker.
    Publish,
}

impl Direction {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::Subscribe, Self::Publish];
}

/// The option names, each at the place of its bit: subscribe and publish in the order of
/// [`Audience`], then what needs no permission.
const NAMES: [&str; 11] = [
    "subscribe-broadcast",
    "subscribe-group",
    "subscribe-user",
    "subscribe-session",
    "publish-broadcast",
    "publish-group",
    "publish-user",
    "publish-session",
    "echo",
    "binary",
    "gaps",
];
const ECHO: u16 = 1 << 8;
const BINARY: u16 = 1 << 9;
const GAPS: u16 = 1 << 10;
/// Those that need no permission, and give no channel.
const FREE: u16 = ECHO | BINARY | GAPS;

/// How many of the [`NAMES`] need a permission.
const GRANTABLE: usize = 8;

/// A set of query options. `Display` prints their names with commas between.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options(u16);

impl Options {
    /// Reads a raw (percent-encoded) query string.
    ///
    /// Names are trimmed and compared without regard to case. Their values do not matter
    /// (`echo=0` asks for echo), and names that mean nothing here are ignored; see
    /// [`Options::read`] for those that were probably meant to.
    pub fn parse(query: &str) -> Self {
        let bits = pairs(query).filter_map(|pair| bit(&NAMES, &name_of(pair)));
        Self(bits.fold(0, |all, bit| all | bit))
    }

    /// Reads a raw query string as [`Options::parse`] does, or returns the first name in it that
    /// begins like an option to subscribe or to publish and is none, with the option that it is
    /// nearest to: a typing error, most likely, which would leave a page deaf or mute without a
    /// word.
    pub(crate) fn read(query: &str) -> Result<Self, (String, &'static str)> {
        let begins = |name: &str| {
            ["subscribe-", "publish-"].iter().any(|start| {
                let head = name.as_bytes().get(..start.len());
                head.is_some_and(|head| head.eq_ignore_ascii_case(start.as_bytes()))
            })
        };
        let mut options = 0;
        for pair in pairs(query) {
            if let Some(place) = NAMES.iter().position(|known| *known == pair) {
                options |= 1 << place;
                continue;
            }
            let name = name_of(pair);
            match bit(&NAMES, &name) {
                Some(bit) => options |= bit,
                None if begins(name.trim()) => {
                    let unknown = name.trim().to_ascii_lowercase();
                    let nearest = nearest(&unknown, NAMES[..GRANTABLE].iter().copied());
                    return Err((unknown, nearest.unwrap_or(NAMES[0])));
                }
                None => {}
            }
        }
        Ok(Self(options))
    }

    /// The names of those in the set.
    pub(crate) fn names(self) -> impl Iterator<Item = &'static str> {
        let mut left = self.0;
        std::iter::from_fn(move || {
            let place = left.trailing_zeros() as usize;
            left &= left.wrapping_sub(1);
            NAMES.get(place).copied()
        })
    }

    /// Whether there is nothing in the set that gives a channel.
    pub fn is_silent(self) -> bool {
        self.0 & !FREE == 0
    }

    /// The options in the set, each by itself.
    pub fn each(self) -> impl Iterator<Item = Self> {
        (0..NAMES.len() as u16)
            .map(move |place| Self(self.0 & 1 << place))
            .filter(|one| !one.is_empty())
    }

    /// Whether `subscribe-…` is in the set for that audience.
    pub fn subscribe(self, audience: Audience) -> bool {
        self.0 & audience.subscribe_bit() != 0
    }

    /// Whether `publish-…` is in the set for that audience.
    pub fn publish(self, audience: Audience) -> bool {
        self.0 & audience.publish_bit() != 0
    }

    /// Whether `subscribe-…` or `publish-…` is in the set for that audience.
    pub(crate) fn asks(self, audience: Audience) -> bool {
        self.subscribe(audience) || self.publish(audience)
    }

    /// Whether the conn wants its own messages back.
    pub fn echo(self) -> bool {
        self.0 & ECHO != 0
    }

    /// Whether the conn wants every message as a binary one.
    pub fn binary(self) -> bool {
        self.0 & BINARY != 0
    }

    /// Whether the conn wants to be told of outages of the broker.
    pub fn gaps(self) -> bool {
        self.0 & GAPS != 0
    }

    /// What is in both sets.
    pub fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// What is in one set or the other.
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is in this set and not in the other.
    pub fn difference(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether there is no option in the set.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The number of options in the set.
    pub fn len(self) -> u32 {
        self.0.count_ones()
    }
}

impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, name) in self.names().enumerate() {
            f.write_str(if place == 0 { "" } else { "," })?;
            f.write_str(name)?;
        }
        Ok(())
    }
}

/// Which subscribe and publish options are granted: by default to subscribe to everything and to
/// publish nothing. `Display` prints a list that [`Allow::parse`] reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allow(u8);

impl Allow {
    /// Reads a comma-separated list of option names; `all` is all of them, and an empty list none.
    pub fn parse(list: &str) -> Result<Self, String> {
        let grantable = &NAMES[..GRANTABLE];
        let mut granted = 0;
        for word in list.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            granted |= if word.eq_ignore_ascii_case("all") {
                u8::MAX
            } else {
                let bit = bit(grantable, word).ok_or_else(|| {
                    format!(
                        "{word:?} cannot be allowed; write all, or some of {}",
                        grantable.join(",")
                    )
                })?;
                u8::try_from(bit).expect("the grantable options are the low eight")
            };
        }
        Ok(Self(granted))
    }

    /// The options of these audiences in these directions.
    pub fn of(audiences: &[Audience], directions: &[Direction]) -> Self {
        let bit = |audience: Audience, direction| match direction {
            Direction::Subscribe => audience.subscribe_bit(),
            Direction::Publish => audience.publish_bit(),
        };
        let bits = audiences.iter().flat_map(|a| directions.iter().map(|d| bit(*a, *d)));
        Self(u8::try_from(bits.fold(0, |all, bit| all | bit)).expect("they are the low eight"))
    }

    /// Whether something may be published that it grants.
    pub fn publishes(self) -> bool {
        self.0 & Self::of(&Audience::ALL, &[Direction::Publish]).0 != 0
    }

    /// Its options as a set.
    pub fn options(self) -> Options {
        Options(u16::from(self.0))
    }

    /// What is left of `options`: those that it grants, and those that need no permission.
    pub fn permitted(self, options: Options) -> Options {
        Options(options.0 & (u16::from(self.0) | FREE))
    }
}

impl Default for Allow {
    fn default() -> Self {
        Self(0b0000_1111)
    }
}

impl fmt::Display for Allow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.options().fmt(f)
    }
}

/// Whether Redis names may begin with `text`, empty included: no part of it between colons is the
/// word of an audience, and its last part is not empty.
pub(crate) fn is_prefix(text: &str) -> bool {
    let is_word = |part: &str| Audience::of_word(part).is_some();
    !text.ends_with(':') && !text.split(':').any(is_word)
}

/// Whether the options ask for channels of a user, a group or a session, and the facility holds a
/// colon, so that their names could be taken for others.
pub(crate) fn is_ambiguous(facility: &str, options: Options) -> bool {
    let somebodys = [Audience::Group, Audience::User, Audience::Session];
    let asked = options.intersection(Allow::of(&somebodys, &Direction::ALL).options());
    facility.contains(':') && !asked.is_empty()
}

/// Whether a key in Redis could be a channel's name, of whatever prefix. A key with something from
/// outside in it, such as a session's, must not, also if that something is the word `broadcast`.
pub(crate) fn reads_as_channel(key: &str) -> bool {
    parts(key).is_some()
}

/// The facility in a channel's name, whatever its prefix.
pub(crate) fn facility_of(name: &str) -> Option<&str> {
    parts(name).map(|(_, _, _, facility)| facility)
}

/// The audience and the facility in a channel's name, if it has this prefix.
pub(crate) fn within<'n>(name: &'n str, prefix: &str) -> Option<(Audience, &'n str)> {
    let (its, audience, _, facility) = parts(name)?;
    (its == prefix).then_some((audience, facility))
}

/// The audience, who of it, and the facility in a channel's name, if it has this prefix.
pub(crate) fn whose<'n>(name: &'n str, prefix: &str) -> Option<(Audience, &'n str, &'n str)> {
    let (its, audience, who, facility) = parts(name)?;
    (its == prefix).then_some((audience, who, facility))
}

/// Whose a channel is, in the words of [`Identity::owner`]; nothing if it is everybody's.
pub(crate) fn owner_of(name: &str) -> Option<&str> {
    // Most names begin so, and this is asked whenever a channel comes or goes.
    if name.starts_with("broadcast:") {
        return None;
    }
    let (_, audience, who, facility) = parts(name)?;
    if audience == Audience::Broadcast {
        return None;
    }
    let end = name.len() - facility.len() - 1;
    Some(&name[end - who.len() - 1 - audience.word().len()..end])
}

/// Prefix, audience, who and facility of a channel's name; nothing if it is none.
fn parts(name: &str) -> Option<(&str, Audience, &str, &str)> {
    let mut at = 0;
    let (audience, after) = name.split(':').find_map(|part| {
        let after = at + part.len();
        let audience = Audience::of_word(part);
        at = after + 1;
        audience.map(|audience| (audience, after))
    })?;
    let before = &name[..after - audience.word().len()];
    let prefix = before.strip_suffix(':').unwrap_or(before);
    let rest = name[after..].strip_prefix(':')?;
    let (who, facility) = match audience {
        Audience::Broadcast => ("", rest),
        _ => rest.rsplit_once(':').filter(|(who, _)| !who.is_empty())?,
    };
    Some((prefix, audience, who, facility))
}

/// What a conn may do, decided once at its handshake.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grant {
    /// Channels that it hears, in the order in which stored messages are sent.
    pub subscribe: Vec<String>,
    /// Channels that its messages are published to.
    pub publish: Vec<String>,
    /// It gets its own messages back.
    pub echo: bool,
    /// Every message reaches it as a binary one.
    pub binary: bool,
    /// It is told of outages of the broker.
    pub gaps: bool,
    /// What it asked for and has: options that gave it a channel, or needed none.
    pub granted: Options,
    /// What it asked for and is not allowed.
    pub denied: Options,
}

/// Works out the channels of a conn: `prefix` (with a colon after it unless it is empty), audience,
/// who, facility. It `asked` for options, of which some are `permitted`.
///
/// Channels come in the order broadcast, groups (in the application's order), user, session, each
/// once. An audience for which the identity has nothing, or an empty name, gives no channel; its
/// options are then neither granted nor denied.
pub(crate) fn channels(
    prefix: &str,
    facility: &str,
    asked: Options,
    permitted: Options,
    identity: &Identity,
) -> Grant {
    let mut grant = Grant {
        echo: permitted.echo(),
        binary: permitted.binary(),
        gaps: permitted.gaps(),
        granted: Options(permitted.0 & FREE),
        denied: asked.difference(permitted),
        ..Grant::default()
    };
    for audience in Audience::ALL {
        let (hears, speaks) = (permitted.subscribe(audience), permitted.publish(audience));
        if !hears && !speaks {
            continue;
        }
        let (list, twin) = match hears {
            true => (&mut grant.subscribe, Some(&mut grant.publish).filter(|_| speaks)),
            false => (&mut grant.publish, None),
        };
        let before = list.len();
        put_names(list, prefix, audience, facility, identity);
        let names = &list[before..];
        if names.is_empty() {
            continue;
        }
        twin.into_iter().for_each(|twin| twin.extend_from_slice(names));
        if speaks {
            grant.granted.0 |= audience.publish_bit();
        }
        if hears {
            grant.granted.0 |= audience.subscribe_bit();
        }
    }
    grant
}

/// What a raw query string is made of.
fn pairs(query: &str) -> impl Iterator<Item = &str> {
    query.split('&').filter(|pair| !pair.is_empty())
}

/// The name of a pair, decoded. Most have nothing to decode.
fn name_of(pair: &str) -> Cow<'_, str> {
    let end = pair.bytes().position(|byte| matches!(byte, b'=' | b'%' | b'+'));
    match end.map(|end| (&pair[..end], pair.as_bytes()[end])) {
        None => Cow::Borrowed(pair),
        Some((name, b'=')) => Cow::Borrowed(name),
        Some(_) => {
            form_urlencoded::parse(pair.as_bytes()).next().map_or("".into(), |(name, _)| name)
        }
    }
}

/// The bit of an option name, in any case and with blanks around it.
fn bit(names: &[&str], name: &str) -> Option<u16> {
    let name = name.trim();
    names.iter().position(|known| known.eq_ignore_ascii_case(name)).map(|place| 1 << place)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn somebody() -> Identity {
        Identity {
            session: Some("key".into()),
            user: Some("john".into()),
            groups: vec!["z".into(), "a".into(), "z".into(), String::new()],
        }
    }

    #[test]
    fn a_path_names_the_facility_that_it_is_made_of() {
        for name in ["", "chat/42", "caf\u{e9} x", "50%", "%FF", "a?b#c", "a:b@c", "\u{7f}\n"] {
            let path = path_of(name, "/ws/");
            assert!(path.bytes().all(|byte| byte.is_ascii_graphic()), "{path}");
            assert!(!path.contains(['?', '#']), "{path}");
            assert_eq!(facility(&path, "/ws/").as_deref(), Some(name), "{path}");
        }
    }

    #[test]
    fn queries() {
        for (query, expected) in [
            ("", ""),
            (
                "subscribe-broadcast&publish-broadcast&echo",
                "subscribe-broadcast,publish-broadcast,echo",
            ),
            ("echo=0&subscribe-broadcast=no", "subscribe-broadcast,echo"),
            ("SUBSCRIBE-Group&%20Publish-User+=&+echo", "subscribe-group,publish-user,echo"),
            (
                "subscribe%2Dsession&publish-group&publish-session&subscribe-user&binary",
                "subscribe-user,subscribe-session,publish-group,publish-session,binary",
            ),
            ("echo&echo=1&&echo", "echo"),
            ("echo;binary", ""),
            ("subscribe&publish-&subscribe_user&sub=echo&%ff&=echo", ""),
        ] {
            assert_eq!(Options::parse(query).to_string(), expected, "{query}");
        }
    }

    #[test]
    fn each_option_is_its_own() {
        for (place, name) in NAMES.iter().enumerate() {
            let options = Options::parse(name);
            let mut answers = vec![];
            answers.extend(Audience::ALL.map(|audience| options.subscribe(audience)));
            answers.extend(Audience::ALL.map(|audience| options.publish(audience)));
            answers.extend([options.echo(), options.binary(), options.gaps()]);
            let expected: Vec<bool> = (0..NAMES.len()).map(|other| other == place).collect();
            assert_eq!(answers, expected, "{name}");
            assert_eq!((options.len(), options.is_empty()), (1, false));
        }
        assert_eq!((Options::default().len(), Options::default().is_empty()), (0, true));
    }

    #[test]
    fn allow_lists() {
        let subscribe = "subscribe-broadcast,subscribe-group,subscribe-user,subscribe-session";
        let publish = "publish-broadcast,publish-group,publish-user,publish-session";
        let everything = format!("{subscribe},{publish}");
        for (list, expected) in [
            ("", ""),
            (" , ", ""),
            ("all", &everything),
            (&everything, &everything),
            ("publish-user,ALL", &everything),
            (" Publish-User ,subscribe-GROUP,publish-user", "subscribe-group,publish-user"),
        ] {
            let allow = Allow::parse(list).unwrap();
            assert_eq!(allow.to_string(), expected, "{list}");
            assert_eq!(Allow::parse(&allow.to_string()), Ok(allow));
        }
        assert_eq!(Allow::default().to_string(), subscribe);
        for word in ["echo", "binary", "subscribe", "none", "subscribe-broadcast publish-user"] {
            let error = Allow::parse(&format!("publish-user,{word}")).unwrap_err();
            assert!(error.contains(&format!("{word:?}")) && error.contains(&everything), "{error}");
        }
    }

    #[test]
    fn facilities() {
        for (path, expected) in [
            ("/ws/foobar", Some("foobar")),
            ("/ws/Foo", Some("Foo")),
            ("/ws/a/b/c/", Some("a/b/c/")),
            ("/ws//a", Some("/a")),
            ("/ws/caf%C3%A9%20x", Some("café x")),
            ("/ws/caf\u{e9}", Some("café")),
            ("/ws/%ff%fe", Some("%FF%FE")),
            ("/ws/a%e2%82b%f0%9f%98%80%c0%80", Some("a%E2%82b\u{1f600}%C0%80")),
            ("/ws/%25ff", Some("%ff")),
            ("/ws/%zz%4", Some("%zz%4")),
            ("/ws/a+b", Some("a+b")),
            ("/ws/%00%0d%0a:%3A", Some("\0\r\n::")),
            ("/ws/", Some("")),
            ("/ws/ws/ws/foo", Some("ws/ws/foo")),
            ("/ws/../foo", Some("../foo")),
            ("/%77s%2Ffoo", Some("foo")),
            ("/ws", None),
            ("/wsx/foo", None),
            ("/WS/foo", None),
            ("/other/foo", None),
            ("/x/ws/foo", None),
            ("//ws/foo", None),
            ("", None),
        ] {
            assert_eq!(facility(path, "/ws/").as_deref(), expected, "{path}");
        }
        assert_eq!(facility("/foo", "/").as_deref(), Some("foo"));
    }

    #[test]
    fn an_audience_gives_the_channels_that_the_identity_has() {
        let nobody = Identity::default();
        let nameless = Identity {
            session: Some(String::new()),
            user: Some(String::new()),
            groups: vec![String::new()],
        };
        let john = somebody();
        let none: &[&str] = &[];
        for (audience, identity, expected) in [
            ("broadcast", &nobody, &["p:broadcast:f"][..]),
            ("broadcast", &john, &["p:broadcast:f"]),
            ("group", &nobody, none),
            ("group", &nameless, none),
            ("group", &john, &["p:group:z:f", "p:group:a:f"]),
            ("user", &nobody, none),
            ("user", &nameless, none),
            ("user", &john, &["p:user:john:f"]),
            ("session", &nobody, none),
            ("session", &nameless, none),
            ("session", &john, &["p:session:key:f"]),
        ] {
            let all = Allow::parse("all").unwrap();
            let options = Options::parse(&format!("subscribe-{audience}"));
            let grant = channels("p", "f", options, all.permitted(options), identity);
            assert_eq!(grant.subscribe, expected, "subscribe-{audience}");
            let granted = if expected.is_empty() { Options::default() } else { options };
            let rest = Grant { subscribe: vec![], ..grant };
            assert_eq!(rest, Grant { granted, ..Grant::default() });

            let options = Options::parse(&format!("publish-{audience}"));
            let grant = channels("p", "f", options, all.permitted(options), identity);
            assert_eq!(grant.publish, expected, "publish-{audience}");
            let granted = if expected.is_empty() { Options::default() } else { options };
            let rest = Grant { publish: vec![], ..grant };
            assert_eq!(rest, Grant { granted, ..Grant::default() });
        }
    }

    #[test]
    fn channels_come_in_the_reference_order() {
        let everything = Options::parse(&NAMES.join("&"));
        let grant = channels("", "x/y", everything, everything, &somebody());
        let expected =
            ["broadcast:x/y", "group:z:x/y", "group:a:x/y", "user:john:x/y", "session:key:x/y"];
        assert_eq!(grant.subscribe, expected);
        assert_eq!(grant.publish, expected);
        assert!(grant.echo && grant.binary && grant.gaps && grant.denied.is_empty());
        assert_eq!(grant.granted, everything);
    }

    #[test]
    fn what_is_not_allowed_is_denied_and_told() {
        let everything = Options::parse(&NAMES.join("&"));
        for (allow, subscribe, publish, denied) in [
            ("subscribe-broadcast,publish-user", &["broadcast:f"][..], &["user:john:f"][..], 6),
            ("publish-broadcast", &[], &["broadcast:f"], 7),
            ("", &[], &[], 8),
        ] {
            let allow = Allow::parse(allow).unwrap();
            let grant = channels("", "f", everything, allow.permitted(everything), &somebody());
            assert_eq!(grant.subscribe, subscribe);
            assert_eq!(grant.publish, publish);
            assert_eq!(grant.denied.len(), denied);
            assert!(grant.echo && grant.binary && grant.gaps);
        }
        let asked = Options::parse("subscribe-broadcast&publish-broadcast&echo");
        let grant =
            channels("", "f", asked, Allow::default().permitted(asked), &Identity::default());
        assert_eq!(grant.denied, Options::parse("publish-broadcast"));
        let unasked = channels("", "f", Options::default(), Options::default(), &somebody());
        assert_eq!(unasked, Grant::default());
    }

    #[test]
    fn prefixes_keep_servers_apart() {
        for text in ["", "site", "a:b", ":1", "a::b", "users", "User", "session-", "wsloop:control"]
        {
            assert!(is_prefix(text), "{text:?}");
        }
        for text in
            ["broadcast", "group", "user", "session", "user:x", "a:session", "a:user:b", "a:", ":"]
        {
            assert!(!is_prefix(text), "{text:?}");
        }
    }

    /// Names of all that can meet in one Redis, put together from parts that are made to be taken
    /// for others: no two are the same, and each is taken apart into what it was made of.
    #[test]
    fn no_two_spell_the_same_name() {
        let parts_of_names = [
            "",
            "a",
            "broadcast",
            "user",
            "user:a",
            "a:user:b",
            "session:",
            "a:",
            ":a",
            "::",
            "%3A",
        ];
        let mut makers: std::collections::BTreeMap<String, String> = Default::default();
        for prefix in parts_of_names.iter().filter(|text| is_prefix(text)) {
            for facility in parts_of_names {
                for audience in Audience::ALL {
                    let asked = Allow::of(&[audience], &[Direction::Subscribe]).options();
                    if is_ambiguous(facility, asked) {
                        continue;
                    }
                    for who in parts_of_names {
                        let identity = Identity {
                            session: Some(who.to_owned()),
                            user: Some(who.to_owned()),
                            groups: vec![who.to_owned()],
                        };
                        let who = if audience == Audience::Broadcast { "" } else { who };
                        let maker = format!("{prefix:?} {audience:?} {who:?} {facility:?}");
                        for name in channels(prefix, facility, asked, asked, &identity).subscribe {
                            let expected = Some((*prefix, audience, who, facility));
                            assert_eq!(parts(&name), expected, "{name}");
                            assert!(reads_as_channel(&name), "{name}");
                            let other = makers.entry(name.clone()).or_insert(maker.clone());
                            assert_eq!(*other, maker, "{name}");
                        }
                    }
                }
            }
        }
        assert!(makers.len() > 500, "{}", makers.len());
    }

    #[test]
    fn a_colon_is_ambiguous_where_somebodys_channels_are_asked_for() {
        for (facility, query, ambiguous) in [
            ("a:b", "subscribe-broadcast&publish-broadcast&echo&binary&gaps", false),
            ("a:b", "", false),
            ("a:b", "subscribe-user", true),
            ("a:b", "subscribe-broadcast&publish-group", true),
            ("a:b", "publish-session", true),
            (":", "subscribe-group", true),
            ("ab", "subscribe-user&publish-group&publish-session", false),
            ("", "subscribe-user", false),
            ("a%3Ab", "subscribe-user", false),
            ("a\u{ff1a}b", "subscribe-user", false),
        ] {
            assert_eq!(
                is_ambiguous(facility, Options::parse(query)),
                ambiguous,
                "{facility} {query}"
            );
        }
    }

    #[test]
    fn whose_a_channel_is_stands_in_its_name() {
        let identity = somebody();
        let [group, user, session] = [Audience::Group, Audience::User, Audience::Session];
        for prefix in ["", "site", "a:b"] {
            for facility in ["", "x", "broadcast", "user/1"] {
                let names = |audience| {
                    let mut names = Vec::new();
                    put_names(&mut names, prefix, audience, facility, &identity);
                    names
                };
                for audience in [group, user, session] {
                    assert!(!names(audience).is_empty());
                    for name in names(audience) {
                        let who = parts(&name).expect("a channel").2;
                        let owner = Identity::owner(audience, who);
                        assert_eq!(owner_of(&name), Some(owner.as_str()), "{name}");
                        assert!(identity.owners().any(|known| known == owner), "{owner}");
                    }
                }
                assert_eq!(owner_of(&names(Audience::Broadcast)[0]), None);
            }
        }
        let heard = Options::parse("subscribe-group&publish-user");
        let others: Vec<String> = identity.other_owners(heard).collect();
        let owners = identity.owners().filter(|owner| !owner.starts_with("group:"));
        assert_eq!(others, owners.collect::<Vec<_>>());
    }

    #[test]
    fn keys_of_stored_sessions_are_no_channels() {
        for (key, is_channel) in [
            ("session:k3y", false),
            (":1:django.contrib.sessions.cachek3y", false),
            ("sess:k3y", false),
            ("session:broadcast", false),
            ("x:wsloop:control", false),
            ("broadcast", false),
            ("user:john", false),
            ("session::data", false),
            ("session:k3y:", true),
            ("session:k3y:data", true),
            ("site:session:k3y:data", true),
            ("broadcast:", true),
            ("broadcast:k3y", true),
            ("user:john:cart", true),
            ("a:b:broadcast:c", true),
        ] {
            assert_eq!(reads_as_channel(key), is_channel, "{key}");
        }
    }
}
