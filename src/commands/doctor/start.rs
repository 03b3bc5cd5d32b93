//! How the job is started: the arguments and variables of its container, and the flags of gcloud that change them.

use crate::commands::doctor::judge::{items, word};
use crate::model::suggested::argument;
use serde_json::Value as Json;

/// What the image has where the job says nothing.
const USUAL: &str = "sync";

/// What separates the parts of a list for gcloud, the first one unless a part has it.
const SEPARATORS: [&str; 4] = [",", ";", "|", "#"];

/// A container's arguments and variables.
pub(super) struct Start<'a> {
    args: Vec<&'a str>,
    container: &'a Json,
}

/// What a setting is set to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) text: String,
    /// The flag or the variable that says so.
    pub(super) name: &'static str,
}

impl<'a> Start<'a> {
    pub(super) fn of(container: &'a Json) -> Self {
        let args: Vec<_> = items(container, "args").filter_map(Json::as_str).collect();
        Self { args: if args.is_empty() { vec![USUAL] } else { args }, container }
    }

    /// What of pulse it runs.
    pub(super) fn command(&self) -> &'a str {
        self.args.first().copied().unwrap_or(USUAL)
    }

    /// What a variable is set to; one that is empty is not set.
    pub(super) fn variable(&self, name: &'static str) -> Option<Setting> {
        let set = items(self.container, "env").find(|variable| word(variable, "name") == name)?;
        let text = word(set, "value").to_owned();
        (!text.is_empty()).then_some(Setting { text, name })
    }

    /// What a flag says, which wins, or its variable.
    pub(super) fn setting(&self, flag: &'static str, variable: &'static str) -> Option<Setting> {
        let said: Vec<_> =
            self.places(flag).into_iter().map(|(place, length)| self.said(place, length)).collect();
        match said.is_empty() {
            true => self.variable(variable),
            false => Some(Setting { text: said.join(","), name: flag }),
        }
    }

    /// The same for one that is on or off.
    pub(super) fn switch(&self, flag: &'static str, variable: &'static str) -> Option<Setting> {
        let bare = self.args.contains(&flag).then(|| Setting { text: "true".to_owned(), name: flag });
        let set = bare.or_else(|| self.setting(flag, variable))?;
        let is_off = ["", "0", "false", "no", "off"].contains(&set.text.to_ascii_lowercase().as_str());
        (!is_off).then_some(set)
    }

    /// Where a flag stands, and how many arguments it takes up.
    fn places(&self, flag: &str) -> Vec<(usize, usize)> {
        let behind = |arg: &str| arg.strip_prefix(flag).map(|rest| (rest.is_empty(), rest.starts_with('=')));
        let place = |(place, arg): (usize, &&str)| match behind(arg)? {
            (true, _) => Some((place, 2)),
            (_, true) => Some((place, 1)),
            _ => None,
        };
        self.args.iter().enumerate().filter_map(place).collect()
    }

    fn said(&self, place: usize, length: usize) -> &'a str {
        match length {
            1 => self.args[place].split_once('=').map_or("", |(_, value)| value),
            _ => self.args.get(place + 1).copied().unwrap_or_default(),
        }
    }

    /// The arguments without a flag; of a switch without its own alone.
    fn without(&self, flag: &str, is_switch: bool) -> Vec<&'a str> {
        let gone: Vec<usize> = self
            .places(flag)
            .into_iter()
            .flat_map(|(place, length)| place..place + if is_switch { 1 } else { length })
            .collect();
        self.args.iter().enumerate().filter(|(place, _)| !gone.contains(place)).map(|(_, arg)| *arg).collect()
    }
}

/// Changes to a job, as flags of `gcloud run jobs update`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    flags: Vec<String>,
    updated: Vec<String>,
    removed: Vec<String>,
    args: Option<String>,
}

impl Changes {
    /// A flag of gcloud's own.
    pub(super) fn flag(mut self, flag: String) -> Self {
        self.flags.push(flag);
        self
    }

    /// A variable gets another value.
    pub(super) fn set(mut self, name: &str, value: &str) -> Self {
        self.updated.push(format!("{name}={value}"));
        self
    }

    /// The job starts with that alone.
    pub(super) fn start_with(mut self, args: &str) -> Self {
        self.args = Some(args.to_owned());
        self
    }

    /// A setting goes. Of the flags only one goes at a time: the next look finds the others.
    pub(super) fn unset(mut self, setting: &Setting, start: &Start<'_>, is_switch: bool) -> Self {
        match setting.name.starts_with("--") {
            true => self.args = self.args.or_else(|| list(&start.without(setting.name, is_switch))),
            false => self.removed.push(setting.name.to_owned()),
        }
        self
    }

    /// And others.
    pub(super) fn and(mut self, others: Self) -> Self {
        self.flags.extend(others.flags);
        self.updated.extend(others.updated);
        self.removed.extend(others.removed);
        self.args = self.args.or(others.args);
        self
    }

    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// All of them, each after a space.
    pub(super) fn to_flags(&self) -> String {
        let own = self.flags.iter().map(|flag| format!(" {flag}"));
        let args = self.args.iter().map(|args| format!(" --args={}", argument(args)));
        let of =
            |flag: &str, parts: &[String]| list(parts).map(|parts| format!(" --{flag}={}", argument(&parts)));
        let removed = of("remove-env-vars", &self.removed);
        let updated = of("update-env-vars", &self.updated);
        own.chain(args).chain(removed).chain(updated).collect()
    }
}

/// A list as gcloud reads it; none of nothing, nor of parts that have every separator.
fn list(parts: &[impl AsRef<str>]) -> Option<String> {
    let parts: Vec<&str> = parts.iter().map(AsRef::as_ref).collect();
    let separator =
        SEPARATORS.into_iter().find(|separator| !parts.iter().any(|part| part.contains(separator)))?;
    let joined = parts.join(separator);
    match separator {
        _ if parts.is_empty() => None,
        "," => Some(joined),
        other => Some(format!("^{other}^{joined}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn container(args: &[&str]) -> Json {
        let env = json!([
            {"name": "PULSE_WHERE", "value": "a=1"},
            {"name": "PULSE_DRY_RUN", "value": "ON"},
            {"name": "PULSE_DIFF", "value": "off"},
            {"name": "PULSE_EVERY", "value": ""},
            {"name": "PULSE_DATABASE", "valueSource": {"secretKeyRef": {"secret": "s", "version": "1"}}},
        ]);
        json!({"args": args, "env": env})
    }

    #[test]
    fn a_flag_wins_over_its_variable_however_it_is_written() {
        for (args, expected) in [
            (&[][..], Some(("a=1", "PULSE_WHERE"))),
            (&["sync"], Some(("a=1", "PULSE_WHERE"))),
            (&["sync", "--where=b=2"], Some(("b=2", "--where"))),
            (&["sync", "--where", "b=2", "--where=c=3"], Some(("b=2,c=3", "--where"))),
            (&["sync", "--whereabouts=1"], Some(("a=1", "PULSE_WHERE"))),
        ] {
            let container = container(args);
            let set = Start::of(&container).setting("--where", "PULSE_WHERE");
            let set = set.as_ref().map(|set| (set.text.as_str(), set.name));
            assert_eq!(set, expected, "{args:?}");
        }
        let container = container(&[]);
        let start = Start::of(&container);
        for (flag, variable) in
            [("--every", "PULSE_EVERY"), ("--database", "PULSE_DATABASE"), ("--for", "PULSE_FOR")]
        {
            assert_eq!(start.setting(flag, variable), None, "{variable}");
        }
        assert_eq!(start.command(), "sync");
    }

    #[test]
    fn a_switch_is_on_unless_it_says_off() {
        for (args, expected) in [
            (&["sync"][..], Some("PULSE_DRY_RUN")),
            (&["sync", "--dry-run"], Some("--dry-run")),
            (&["sync", "--dry-run", "--diff"], Some("--dry-run")),
            (&["sync", "--dry-run=no"], None),
        ] {
            let container = container(args);
            let set = Start::of(&container).switch("--dry-run", "PULSE_DRY_RUN");
            assert_eq!(set.map(|set| set.name), expected, "{args:?}");
        }
        let container = container(&[]);
        assert_eq!(Start::of(&container).switch("--diff", "PULSE_DIFF"), None);
    }

    #[test]
    fn what_goes_leaves_the_rest_as_it_is() {
        for (args, flag, is_switch, left) in [
            (&["sync", "--dry-run", "--diff"][..], "--dry-run", true, "sync,--diff"),
            (&["sync", "--where", "a=1", "--diff"], "--where", false, "sync,--diff"),
            (&["sync", "--where=a=1", "--user=b,c"], "--where", false, "^;^sync;--user=b,c"),
        ] {
            let container = container(args);
            let start = Start::of(&container);
            let set = if is_switch { start.switch(flag, "") } else { start.setting(flag, "") };
            let changes = Changes::default().unset(&set.expect("set"), &start, is_switch);
            assert_eq!(changes.to_flags(), format!(" --args={}", argument(left)), "{args:?}");
        }
    }

    #[test]
    fn changes_are_one_command_and_no_shell_reads_more_into_it() {
        let container = container(&[]);
        let start = Start::of(&container);
        let set = |flag, variable| start.setting(flag, variable).expect("set");
        let changes = Changes::default()
            .flag("--memory=512Mi".into())
            .unset(&set("--where", "PULSE_WHERE"), &start, false)
            .unset(&set("--dry-run", "PULSE_DRY_RUN"), &start, true)
            .set("A", "1")
            .set("B", "$(ls)");
        let flags =
            " --memory=512Mi --remove-env-vars=PULSE_WHERE,PULSE_DRY_RUN --update-env-vars='A=1,B=$(ls)'";
        assert_eq!(changes.to_flags(), flags);
        assert!(Changes::default().is_empty() && !changes.is_empty());
        assert_eq!(list(&[",;|#"]), None);
    }
}
