//! A command's whole output, as text or as one JSON object, and its exit code.

use crate::commands::frame::finding::{CheckState, Finding, worst};
use crate::commands::frame::json::JsonObject;
use crate::commands::frame::page::{Page, grouped};
use crate::commands::frame::screen::Screen;
use crate::commands::frame::usage::refusal;
use crate::config::operator_args::OperatorArgs;
use crate::config::variables::{self, environment};
use crate::config::{ConfigError, Execution, Place};
use crate::model::usage::Used;
use crate::shutdown::Stop;
use crate::telemetry::{self, LogFormat, output};
use jiff::Timestamp;
use serde::Serialize;
use std::io::{self, BufWriter, Write};
use std::process::ExitCode;
use tracing::{error, info, warn};

/// Bad usage and configuration.
const USAGE: u8 = 2;

/// Of the object that `--json` prints. A field that is added does not raise it.
const VERSION: u32 = 1;

/// What a command says, while it says it.
pub(crate) struct Report {
    out: BufWriter<Box<dyn Write>>,
    form: Form,
    findings: Vec<Finding>,
    conclusion: Option<Finding>,
    used: Used,
    has_text: bool,
    /// What is found becomes lines of the log.
    is_logged: bool,
    /// Says more than the findings do.
    exit_code: Option<u8>,
    /// Why not all of it could be written, but for a reader who has left.
    unwritten: Option<io::ErrorKind>,
}

/// What a command has found, once all is told.
#[derive(Debug)]
struct Ended {
    findings: Vec<Finding>,
    used: Used,
    code: u8,
    unwritten: Option<io::ErrorKind>,
}

enum Form {
    Text(Screen),
    /// `None` once stdout takes no more: there is nobody to tell.
    Json(Option<JsonObject>),
}

impl Report {
    /// Begins it, on stdout.
    fn begin(command: &str, args: &OperatorArgs, place: &Place) -> Self {
        let screen = (!args.json).then(|| Screen::of_stdout(environment));
        Self::on(Box::new(io::stdout()), screen, command, Some(place))
    }

    /// Begins it, as JSON unless there is a screen for text. Without a place nothing was looked at.
    fn on(out: Box<dyn Write>, screen: Option<Screen>, command: &str, place: Option<&Place>) -> Self {
        let mut out = BufWriter::new(out);
        let begun = screen.is_none().then(|| JsonObject::begin(&mut out)).transpose();
        let unwritten = begun.as_ref().err().and_then(loss);
        let form = screen.map_or_else(|| Form::Json(begun.ok().flatten()), Form::Text);
        let (findings, conclusion, used, exit_code) = (Vec::new(), None, Used::default(), None);
        let (has_text, is_logged) = (false, false);
        let mut report =
            Self { out, form, findings, conclusion, used, has_text, is_logged, exit_code, unwritten };
        report.field("version", &VERSION);
        report.field("command", &command);
        if let Some(place) = place {
            report.field("project", &&*place.database.project);
            report.field("database", &&*place.database.database);
        }
        report
    }

    /// Writes a field, of JSON alone.
    pub(crate) fn field(&mut self, name: &str, value: &impl Serialize) {
        self.json(|object, out| object.field(out, name, value));
    }

    /// Begins a list, of JSON alone. The next field ends it.
    pub(crate) fn begin_list(&mut self, name: &str) {
        self.json(|object, out| object.begin_list(out, name));
    }

    /// Writes an item of the list, of JSON alone.
    pub(crate) fn item(&mut self, value: &impl Serialize) {
        self.json(|object, out| object.item(out, value));
    }

    fn json(
        &mut self,
        write: impl FnOnce(&mut JsonObject, &mut BufWriter<Box<dyn Write>>) -> io::Result<()>,
    ) {
        let Form::Json(object) = &mut self.form else { return };
        if let Some(begun) = object
            && let Err(err) = write(begun, &mut self.out)
        {
            *object = None;
            self.unwritten = self.unwritten.or(loss(&err));
        }
    }

    /// Notes what could not be written.
    fn note(&mut self, written: io::Result<()>) {
        self.unwritten = self.unwritten.or(written.as_ref().err().and_then(loss));
    }

    /// Writes a part of the text, where it is text.
    pub(crate) fn text(&mut self, write: impl FnOnce(&mut Page)) {
        let Form::Text(screen) = self.form else { return };
        let mut page = Page::below(screen, self.has_text);
        write(&mut page);
        self.has_text = true;
        let written = self.out.write_all(page.into_text().as_bytes()).and_then(|()| self.out.flush());
        self.note(written);
    }

    /// Adds a finding, which is told at the end.
    pub(crate) fn found(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// Adds several.
    pub(crate) fn found_all(&mut self, findings: Vec<Finding>) {
        self.findings.extend(findings);
    }

    /// Adds the one that all comes to, which is told behind all that is no worse.
    pub(crate) fn concludes(&mut self, finding: Finding) {
        self.conclusion = Some(finding);
    }

    /// Says what was used, which is told at the end.
    pub(crate) fn used(&mut self, used: Used) {
        self.used = used;
    }

    /// Exits with that, whatever was found.
    pub(crate) fn exit_with(&mut self, code: u8) {
        self.exit_code = Some(code);
    }

    /// Writes the rest, and returns what was found.
    fn end(mut self) -> Ended {
        let (mut findings, used) = (std::mem::take(&mut self.findings), self.used);
        findings.extend(self.conclusion.take());
        // The worst last: there a terminal's reader looks first.
        findings.sort_by_key(|finding| finding.state);
        let state = worst(&findings);
        if !self.is_logged {
            self.text(|page| {
                page.gap();
                findings.iter().for_each(|finding| page.finding(finding));
                page.paragraph(&bill(&used));
            });
        }
        self.field("findings", &findings);
        self.field("used", &UsedJson::of(&used));
        self.field("state", &state);
        if let Form::Json(object) = &mut self.form
            && let Some(object) = object.take()
        {
            let ended = object.end(&mut self.out);
            self.note(ended);
        }
        let flushed = self.out.flush();
        self.note(flushed);
        let code = self.exit_code.unwrap_or(state.exit_code());
        Ended { findings, used, code, unwritten: self.unwritten }
    }
}

/// Why an answer did not arrive. A reader who has left has what they wanted, as of `head`.
fn loss(err: &io::Error) -> Option<io::ErrorKind> {
    Some(err.kind()).filter(|kind| *kind != io::ErrorKind::BrokenPipe)
}

/// By the names of `ops/last_pulse`.
#[derive(Serialize)]
struct UsedJson {
    firestore_reads: u64,
    firestore_writes: u64,
    secret_accesses: u64,
    alpaca_calls: u64,
}

impl UsedJson {
    fn of(used: &Used) -> Self {
        let Used { firestore_reads, firestore_writes, secret_accesses, alpaca_calls } = *used;
        Self { firestore_reads, firestore_writes, secret_accesses, alpaca_calls }
    }
}

/// What was used, in words: `reads 2,030 documents`. Nothing for nothing.
fn bill(used: &Used) -> String {
    let some = |verb: &str, number: u64, (one, many): (&str, &str)| match number {
        0 => None,
        1 => Some(format!("{verb} 1 {one}")),
        number => Some(format!("{verb} {} {many}", grouped(number))),
    };
    let parts = [
        some("reads", used.firestore_reads, ("document", "documents")),
        some("writes", used.firestore_writes, ("document", "documents")),
        some("accesses", used.secret_accesses, ("secret", "secrets")),
        some("makes", used.alpaca_calls, ("call to Alpaca", "calls to Alpaca")),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// A command that looks: configuration, the look itself, exit code.
pub(crate) async fn run(
    command: &'static str,
    args: &OperatorArgs,
    look: impl AsyncFnOnce(&Place, &mut Report),
) -> ExitCode {
    run_with(command, args, Ok(()), async |place, (), report| look(place, report).await).await
}

/// The same of a command whose settings can be wrong together.
pub(crate) async fn run_with<S>(
    command: &'static str,
    args: &OperatorArgs,
    settings: Result<S, ConfigError>,
    look: impl AsyncFnOnce(&Place, S, &mut Report),
) -> ExitCode {
    tell_only_the_place_of_panics();
    let readable = variables::check(std::env::vars_os());
    let place = readable.and_then(|()| Place::new(args, environment));
    let (place, settings) = match ConfigError::unless_either(place, settings) {
        Ok(usable) => usable,
        Err(err) => {
            if args.json {
                refuse(command.to_owned(), "Configuration", err.to_string()).await;
            }
            output::tell(move || write!(io::stderr(), "{}", refusal(&format!("error: {err}")))).await;
            return ExitCode::from(USAGE);
        }
    };
    let is_job = environment("CLOUD_RUN_EXECUTION").is_some_and(|execution| !execution.is_empty());
    let mut report = Report::begin(command, args, &place);
    report.is_logged = is_job;
    look(&place, settings, &mut report).await;
    let Ended { findings, used, code, unwritten } = report.end();
    if is_job {
        log(command, &findings, &used).await;
    }
    if let Some(why) = unwritten {
        output::tell(move || writeln!(io::stderr(), "error: the answer could not be written: {why}")).await;
    }
    let code = if is_job { code_of_a_job(code, args.exit_code) } else { code };
    ExitCode::from(code_of_what_arrived(code, unwritten))
}

/// Prints the whole answer of a command that was typed wrong, for a program that reads it.
pub(crate) async fn refuse(command: String, reason: &'static str, sentence: String) {
    output::tell(move || {
        let mut report = Report::on(Box::new(io::stdout()), None, &command, None);
        report.found(Finding::new(CheckState::Failed, reason, sentence));
        // It is no success, whoever has read it.
        report.end();
        Ok(())
    })
    .await;
}

/// An answer that nobody got is none: that never looks like success.
fn code_of_what_arrived(code: u8, unwritten: Option<io::ErrorKind>) -> u8 {
    match (code, unwritten) {
        (0, Some(_)) => 1,
        _ => code,
    }
}

/// A finding is no reason for Cloud Run to try again.
fn code_of_a_job(code: u8, is_wanted: bool) -> u8 {
    if code == CheckState::Failed.exit_code() && !is_wanted { 0 } else { code }
}

/// Where it runs as a job, the log is what alerts are made of.
async fn log(command: &str, findings: &[Finding], used: &Used) {
    let execution = Execution::from_lookup(environment, Timestamp::now());
    let label = execution.as_ref().map(Execution::label).unwrap_or_default();
    telemetry::init((LogFormat::Auto, true), &label, environment);
    for Finding { state, reason, sentence, mend } in findings {
        let mend = mend.as_deref();
        match state {
            CheckState::Ok | CheckState::Skipped => info!(command, reason, mend, "{reason}: {sentence}"),
            CheckState::Warning | CheckState::Failed => warn!(command, reason, mend, "{reason}: {sentence}"),
            CheckState::Unknown => error!(command, reason, mend, "{reason}: {sentence}"),
        }
    }
    let bill = bill(used);
    if !bill.is_empty() {
        info!(command, "{bill}");
    }
    Stop::default().flush_log().await;
}

/// A panic's words may quote anything, a key among them.
fn tell_only_the_place_of_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let _ = writeln!(io::stderr(), "pulse: a bug: panicked at {place}");
    }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Endpoints;
    use crate::model::ids::Database;
    use serde_json::{Value as Json, json};
    use std::cell::RefCell;
    use std::rc::Rc;

    /// What was written, kept for a test.
    #[derive(Clone, Default)]
    struct Kept(Rc<RefCell<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.borrow_mut().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What takes nothing.
    struct Taking(io::ErrorKind);

    impl Write for Taking {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn place() -> Place {
        let database = Database::parse("p", "(default)").expect("legal");
        Place { database, endpoints: Endpoints::default() }
    }

    fn say(mut report: Report) -> Ended {
        report.text(|page| page.heading("Two users"));
        report.begin_list("users");
        for user in ["ana", "ben"] {
            report.item(&json!({"user": user}));
        }
        report.found(Finding::new(CheckState::Failed, "Late", "It is late.").mended_by("pulse sync"));
        report.used(Used { firestore_reads: 2030, alpaca_calls: 1, ..Used::default() });
        report.end()
    }

    fn told(screen: Option<Screen>) -> (String, u8) {
        let kept = Kept::default();
        let code = say(Report::on(Box::new(kept.clone()), screen, "status", Some(&place()))).code;
        let text = String::from_utf8(kept.0.borrow().clone()).expect("a text");
        (text, code)
    }

    #[test]
    fn text_and_json_say_the_same_with_one_exit_code() {
        let text = "Two users\n\n\
                    failed        Late: It is late.\n\
                    \u{20}             $ pulse sync\n\
                    reads 2,030 documents, makes 1 call to Alpaca\n";
        assert_eq!(told(Some(Screen::file())), (text.into(), 3));
        let (object, code) = told(None);
        let used =
            json!({"firestore_reads": 2030, "firestore_writes": 0, "secret_accesses": 0, "alpaca_calls": 1});
        let finding =
            json!({"state": "failed", "reason": "Late", "sentence": "It is late.", "mend": "pulse sync"});
        let expected = json!({
            "version": 1, "command": "status", "project": "p", "database": "(default)",
            "users": [{"user": "ana"}, {"user": "ben"}], "findings": [finding], "used": used, "state": "failed",
        });
        assert_eq!((serde_json::from_str::<Json>(&object).expect("JSON"), code), (expected, 3));
    }

    #[test]
    fn the_worst_comes_last_and_of_equals_what_all_comes_to() {
        use CheckState::{Failed, Ok, Unknown, Warning};
        for (found, conclusion, expected) in [
            (&[(Unknown, "A"), (Ok, "B")][..], (Warning, "C"), ["B", "C", "A"]),
            (&[(Failed, "A"), (Warning, "B")], (Failed, "C"), ["B", "A", "C"]),
        ] {
            let mut report = Report::on(Box::new(Kept::default()), Some(Screen::file()), "x", Some(&place()));
            found.iter().for_each(|(state, reason)| report.found(Finding::new(*state, reason, "x")));
            report.concludes(Finding::new(conclusion.0, conclusion.1, "x"));
            let reasons: Vec<_> = report.end().findings.iter().map(|finding| finding.reason).collect();
            assert_eq!(reasons, expected);
        }
    }

    #[test]
    fn whoever_stops_reading_changes_no_exit_code_and_a_full_disk_is_never_success() {
        use io::ErrorKind::{BrokenPipe, StorageFull};
        for screen in [None, Some(Screen::file())] {
            for (kind, unwritten) in [(BrokenPipe, None), (StorageFull, Some(StorageFull))] {
                let ended = say(Report::on(Box::new(Taking(kind)), screen, "status", Some(&place())));
                assert_eq!((ended.code, ended.unwritten), (3, unwritten), "{screen:?}");
            }
        }
        for (code, unwritten, expected) in [
            (0, None, 0),
            (0, Some(StorageFull), 1),
            (3, Some(StorageFull), 3),
            (143, Some(StorageFull), 143),
        ] {
            assert_eq!(code_of_what_arrived(code, unwritten), expected);
        }
    }

    #[test]
    fn a_finding_makes_cloud_run_try_again_only_where_that_is_wanted() {
        for (code, is_wanted, expected) in
            [(3, false, 0), (3, true, 3), (1, false, 1), (0, false, 0), (2, false, 2)]
        {
            assert_eq!(code_of_a_job(code, is_wanted), expected);
        }
    }

    #[test]
    fn what_was_used_is_told_as_far_as_it_costs() {
        let one = Used { firestore_reads: 1, firestore_writes: 1, secret_accesses: 1, alpaca_calls: 0 };
        assert_eq!(bill(&one), "reads 1 document, writes 1 document, accesses 1 secret");
        assert_eq!(bill(&Used::default()), "");
    }
}
