//! L1: who a conn belongs to. It knows nothing of how that was found out.

/// Session key, user name and groups of a conn; all empty for an anonymous one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Key of the application's session.
    pub session: Option<String>,
    /// The user's name.
    pub user: Option<String>,
    /// Names of the user's groups, in the application's order.
    pub groups: Vec<String>,
}
