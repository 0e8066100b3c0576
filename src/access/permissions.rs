//! L1: who is granted which options on which facility: rules, of which the first that fits decides.
//!
//! It knows what was asked and who asks, and nothing of names, of requests, or of how an identity
//! was found out. Its rules:
//!
//! - Every option (direction and audience) is decided by itself, by the first [`Rule`] that is
//!   about it and fits facility and identity. What no rule decides, the list of [`Allow`] does.
//! - A grant is no channel: who has no user gets none for `subscribe-user`, whatever is granted.

use crate::access::channel::{Allow, Options};
use crate::access::identity::Identity;
use crate::access::pattern;

/// Rules in the order in which they are tried.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules(pub Vec<Rule>);

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Pattern of the facilities that it fits: `*` stands for any characters, none and slashes
    /// included, and everything else for itself.
    pub facility: String,
    /// Options that it decides about.
    pub options: Allow,
    /// Whom it fits.
    pub who: Who,
    /// Whether it grants those options, or denies them.
    pub grant: bool,
}

/// Whom a rule fits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// Everybody.
    Anyone,
    /// Who has a user.
    LoggedIn,
    /// Members of this group.
    Group(String),
}

impl Rules {
    /// What of the `asked` options is permitted, those included that need no permission.
    pub fn granted(
        &self,
        facility: &str,
        asked: Options,
        identity: &Identity,
        allow: Allow,
    ) -> Options {
        let (mut open, mut granted) = (asked, Options::default());
        for rule in &self.0 {
            let decided = open.intersection(rule.options.options());
            if decided.is_empty() || !rule.fits(facility, identity) {
                continue;
            }
            open = open.difference(decided);
            if rule.grant {
                granted = granted.union(decided);
            }
        }
        granted.union(allow.permitted(open))
    }
}

impl Rule {
    fn fits(&self, facility: &str, identity: &Identity) -> bool {
        let is_member = |group: &String| identity.groups.contains(group);
        let fits = match &self.who {
            Who::Anyone => true,
            Who::LoggedIn => is_logged_in(identity),
            Who::Group(group) => is_member(group),
        };
        fits && pattern::matches(&self.facility, facility)
    }
}

/// Whether somebody has logged in: a session alone is anybody's.
pub(crate) fn is_logged_in(identity: &Identity) -> bool {
    identity.user.as_ref().is_some_and(|user| !user.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(facility: &str, options: &str, who: Who, grant: bool) -> Rule {
        let options = Allow::parse(options).expect("options");
        Rule { facility: facility.to_owned(), options, who, grant }
    }

    fn staff() -> Who {
        Who::Group("staff".to_owned())
    }

    /// Nobody, somebody with a session only, a user, and a member of the staff.
    fn people() -> [Identity; 4] {
        let session = Some("key".to_owned());
        let user = Some("john".to_owned());
        let nobody = Identity::default();
        let stranger = Identity { session, user: Some(String::new()), ..nobody.clone() };
        let john = Identity { user, ..stranger.clone() };
        let groups = vec!["editors".to_owned(), "staff".to_owned()];
        [nobody, stranger, john.clone(), Identity { groups, ..john }]
    }

    #[test]
    fn the_first_rule_that_fits_decides_about_each_option_and_then_the_list() {
        use Who::{Anyone, LoggedIn};
        let both = "subscribe-broadcast,publish-broadcast";
        let hear = "subscribe-broadcast";
        let all = ["", "", "", ""];
        let cases: [(&str, Vec<Rule>, [&str; 4]); 11] = [
            ("no rule: the list", vec![], [hear; 4]),
            ("another facility", vec![rule("b", "all", Anyone, true)], [hear; 4]),
            ("everything", vec![rule("a", "all", Anyone, true)], [both; 4]),
            ("a denial beats the list", vec![rule("*", "all", Anyone, false)], all),
            (
                "each option by itself",
                vec![rule("a", "publish-broadcast", Anyone, true), rule("a", "all", Anyone, false)],
                ["publish-broadcast"; 4],
            ),
            (
                "a rule about other options decides nothing",
                vec![rule("a", "publish-user,subscribe-session", Anyone, false)],
                [hear; 4],
            ),
            ("a user", vec![rule("*", "all", LoggedIn, true)], [hear, hear, both, both]),
            (
                "only users",
                vec![rule("*", "all", LoggedIn, true), rule("*", "all", Anyone, false)],
                ["", "", both, both],
            ),
            (
                "the staff",
                vec![rule("*", "all", staff(), true), rule("*", "all", Anyone, false)],
                ["", "", "", both],
            ),
            (
                "the first one wins",
                vec![rule("*", "all", Anyone, false), rule("*", "all", staff(), true)],
                all,
            ),
            (
                "all but the staff",
                vec![rule("*", hear, staff(), false), rule("*", "all", LoggedIn, true)],
                [hear, hear, both, "publish-broadcast"],
            ),
        ];
        let asked = Options::parse("subscribe-broadcast&publish-broadcast");
        for (what, rules, expected) in cases {
            let rules = Rules(rules);
            for (identity, expected) in people().iter().zip(expected) {
                let granted = rules.granted("a", asked, identity, Allow::default());
                assert_eq!(granted.to_string(), expected, "{what}: {identity:?}");
            }
        }
    }

    #[test]
    fn nothing_is_granted_that_was_not_asked_for_and_what_needs_no_permission_is_left_alone() {
        let [nobody, ..] = people();
        let all = Allow::parse("all").expect("all");
        let none = Allow::parse("").expect("none");
        for (grant, allow) in [(true, none), (false, all)] {
            let rules = Rules(vec![rule("*", "all", Who::Anyone, grant)]);
            for (asked, granted) in [
                ("", ""),
                ("echo&binary", "echo,binary"),
                ("publish-user&echo", if grant { "publish-user,echo" } else { "echo" }),
            ] {
                let asked = Options::parse(asked);
                let options = rules.granted("a", asked, &nobody, allow);
                assert_eq!(options.to_string(), granted);
            }
        }
    }

    #[test]
    fn a_group_is_matched_whole() {
        for (group, fits) in [("staff", true), ("staf", false), ("Staff", false), ("", false)] {
            let [.., member] = people();
            let who = Who::Group(group.to_owned());
            assert_eq!(rule("*", "all", who, true).fits("a", &member), fits, "{group}");
        }
    }
}
