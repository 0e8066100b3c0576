//! L1: who asks: from a request's credentials to an identity, or to what must be looked up first.
//!
//! It knows tokens, cookies and what may be asked of whom; it asks nobody itself. Its rules:
//! * sources are tried in the order token, session, application; the first that knows somebody ends
//!   the search, and without an answer everybody is anonymous;
//! * a token that is present but invalid is refused; it is never a step to the next source;
//! * nothing is lost silently: cookies, sessions and names that are not taken are counted.

use crate::access::ask::{self, AskSettings};
use crate::access::channel::Allow;
use crate::access::identity::{Identity, Named, Refused};
use crate::access::key::TokenKeys;
use crate::access::proxies::Client;
use crate::access::session::{self, Entries, Format};
use crate::access::token::{self, Judge, TokenError};
use crate::link::Metrics;
use crate::proto::http::Head;
use crate::proto::ws::upgrade;

/// Where identities come from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Signed tokens.
    pub token: Option<Tokens>,
    /// The application's sessions.
    pub session: Option<Sessions>,
    /// The application itself.
    pub auth: Option<AskSettings>,
}

/// How tokens are checked.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// What they are signed with.
    pub keys: TokenKeys,
    /// Whom they must be for.
    pub audience: Option<String>,
    /// So many milliseconds they are good before their time and behind it, for clocks that differ.
    pub leeway_ms: u64,
}

/// How the application's sessions are found and read.
#[derive(Clone)]
pub struct Sessions {
    /// The cookie that has the session's key.
    pub cookie: String,
    /// The Redis key of a session: what comes before the session's own key, and behind it.
    pub key: (String, String),
    /// How they are written.
    pub format: Format,
    /// What they are signed with, any of these; nothing is checked when there are none.
    pub secrets: Vec<Vec<u8>>,
    /// Where user and groups are in them.
    pub entries: Entries,
}

/// Somebody, or nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Who it is.
    pub identity: Identity,
    /// Names that the identity cannot have: who needs them is refused.
    pub refused: Vec<Refused>,
    /// What whoever told so narrows the permissions to.
    pub allow: Option<Allow>,
    /// When that is no longer true, in milliseconds of Unix time.
    pub expires_ms: Option<u64>,
}

/// Why a request is refused before anybody is asked about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unidentified {
    /// Its token is not valid.
    Token(TokenError),
    /// The application cannot be asked about it.
    Unaskable,
}

/// WhoAsks asks, or what is to be looked up to know it.
#[derive(Debug)]
pub enum WhoAsks {
    /// It is known.
    Known(Known),
    /// It has to be looked up.
    Unknown(Lookup),
}

/// What has to be looked up, in this order.
#[derive(Debug, Default)]
pub struct Lookup {
    /// The key of a session.
    pub session: Option<String>,
    /// The question for the application.
    pub question: Option<Vec<u8>>,
}

impl Known {
    /// Who has these names. What cannot be one is noted.
    pub fn by_names(named: Named, metrics: &mut Metrics) -> Known {
        for refused in &named.refused {
            metrics.names_refused_total += 1;
            if metrics.names_refused_total == 1 {
                tracing::warn!(
                    "{} {:?} is left out: it {} (said once; then counted)",
                    refused.audience.word(),
                    refused.name,
                    refused.why
                );
            }
        }
        Known { identity: named.identity, refused: named.refused, ..Known::default() }
    }
}

impl Sources {
    /// Whether there is one at all.
    pub fn is_some(&self) -> bool {
        self.token.is_some() || self.session.is_some() || self.auth.is_some()
    }

    /// Finds out who asks, as far as the request says. `unix_ms` is the time of day, `client`
    /// whose request it is.
    pub fn identify(
        &self,
        head: &Head<'_>,
        client: &Client<'_>,
        unix_ms: u64,
        metrics: &mut Metrics,
    ) -> Result<WhoAsks, Unidentified> {
        if let Some(known) = self.by_token(head, unix_ms, metrics).map_err(Unidentified::Token)? {
            return Ok(WhoAsks::Known(known));
        }
        let session = self.session.as_ref().and_then(|sessions| sessions.key_of(head, metrics));
        let ask =
            |auth: &AskSettings| ask::question(auth, head, client).ok_or(Unidentified::Unaskable);
        let question = self.auth.as_ref().map(ask).transpose()?;
        match (&session, &question) {
            (None, None) => Ok(WhoAsks::Known(Known::default())),
            _ => Ok(WhoAsks::Unknown(Lookup { session, question })),
        }
    }

    fn by_token(
        &self,
        head: &Head<'_>,
        unix_ms: u64,
        metrics: &mut Metrics,
    ) -> Result<Option<Known>, TokenError> {
        let Some(tokens) = &self.token else { return Ok(None) };
        let protocols = upgrade::offered(head);
        let authorization = head.values("Authorization");
        let Some(token) = token::find_token(head.query, protocols, authorization)? else {
            return Ok(None);
        };
        let Tokens { keys, audience, leeway_ms } = tokens;
        let judge = Judge { keys, audience: audience.as_deref(), leeway_ms: *leeway_ms };
        let claims = token::verify(&token, &judge, unix_ms)?;
        Ok(Some(Known {
            allow: claims.allow,
            expires_ms: claims.expires_ms,
            ..Known::by_names(claims.named, metrics)
        }))
    }
}

impl Sessions {
    /// The name under which a session is stored.
    pub fn stored_as(&self, key: &str) -> String {
        let (before, behind) = &self.key;
        format!("{before}{key}{behind}")
    }

    /// Reads a session that is stored; nobody when it says nothing that can be believed.
    pub fn read(&self, key: &str, stored: &[u8], metrics: &mut Metrics) -> Option<Known> {
        match session::decode(self.format, stored, &self.secrets, key, &self.entries) {
            Ok(read) => Some(Known::by_names(read, metrics)),
            Err(error) => {
                metrics.sessions_refused_total += 1;
                if metrics.sessions_refused_total == 1 {
                    tracing::warn!(
                        "a session was not believed: {error}; see --session-format and \
                         --session-secret-file (said once; then counted)"
                    );
                }
                None
            }
        }
    }

    /// The key that the request's cookie has, if it can be one.
    fn key_of(&self, head: &Head<'_>, metrics: &mut Metrics) -> Option<String> {
        let cookies = head.values("Cookie");
        match session::session_key(cookies, &self.cookie, self.format, &self.secrets) {
            Ok(key) => key,
            Err(error) => {
                metrics.cookies_refused_total += 1;
                if metrics.cookies_refused_total == 1 {
                    tracing::warn!(
                        "a session cookie was not believed: {error} (said once; then counted)"
                    );
                }
                None
            }
        }
    }
}

impl std::fmt::Debug for Sessions {
    /// Leaves the secret out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (before, behind) = &self.key;
        write!(f, "sessions {before}{{}}{behind} by cookie {}", self.cookie)
    }
}
