//! Runs of the pulse and of the floor, each as a process of its own, against a sandbox.

use crate::cells::Cell;
use crate::cloud::{Claimed, Cloud, Counted};
use crate::meter::Used;
use crate::recording::record;
use crate::report::{PerUser, Row};
use crate::{Args, Result, log, meter, progress};
use std::cell::RefCell;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::rc::Rc;

/// Users of the largest store that is worth more than one pass.
const QUICK: u32 = 200_000;

/// The benchmark while it runs.
pub(crate) struct Bench<'a> {
    pub(crate) args: &'a Args,
    folder: PathBuf,
    /// The store of the latest run: runs on the same one follow each other.
    cloud: RefCell<Option<Rc<Cloud>>>,
    /// Up to how many users the recording for the floor serves.
    recorded: RefCell<u32>,
    notes: RefCell<Vec<String>>,
}

/// One run of the pulse.
pub(crate) struct Pulse {
    pub(crate) used: Used,
    pub(crate) told: log::Told,
    pub(crate) counted: Counted,
    pub(crate) claimed: Option<Claimed>,
}

impl<'a> Bench<'a> {
    pub(crate) fn new(args: &'a Args) -> Result<Self> {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("bench-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        Ok(Self {
            args,
            folder,
            cloud: RefCell::default(),
            recorded: RefCell::default(),
            notes: RefCell::default(),
        })
    }

    /// Something that whoever reads the figures has to know; once is enough.
    pub(crate) fn note(&self, note: String) {
        let mut notes = self.notes.borrow_mut();
        if !notes.contains(&note) {
            notes.push(note);
        }
    }

    pub(crate) fn notes(&self) -> Vec<String> {
        self.notes.borrow().clone()
    }

    /// A file for one run after the other.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A store with so many healthy users. One pass is over, unless it would take minutes: the first creates what all
    /// others replace.
    pub(crate) fn cloud(&self, users: u32, latency_ms: u32) -> Result<Rc<Cloud>> {
        let mut current = self.cloud.borrow_mut();
        if let Some(cloud) = current.as_ref().filter(|c| (c.users, c.latency_ms) == (users, latency_ms)) {
            return Ok(Rc::clone(cloud));
        }
        // The old one's memory is needed first.
        *current = None;
        let cloud = Rc::new(Cloud::start(&self.args.pulse, users, latency_ms)?);
        if users <= QUICK {
            self.pulse(&cloud, &["--concurrency", "256"], &[])?;
        }
        *current = Some(Rc::clone(&cloud));
        Ok(cloud)
    }

    /// The floor and the pulse on the same store; on the largest the pulse alone.
    pub(crate) fn cell(&self, cell: &Cell) -> Result<Vec<Row>> {
        let cloud = self.cloud(cell.users, cell.latency_ms)?;
        if cell.users > QUICK {
            let pulse = self.row("pulse", cell, &cloud, &[], &[])?;
            progress(&pulse);
            return Ok(vec![pulse]);
        }
        let (mut floors, mut pulses) = (Vec::new(), Vec::new());
        for _ in 0..self.args.rounds.max(1) {
            let floor = Row::new("floor", cell, &self.floor(&cloud, cell.concurrency)?);
            progress(&floor);
            floors.push(floor);
            let pulse = self.row("pulse", cell, &cloud, &[], &[])?;
            progress(&pulse);
            pulses.push(pulse);
        }
        let (floor, mut pulse) = (middle(floors)?, middle(pulses)?);
        pulse.over_floor = Some(pulse.cpu_us_per_user / floor.cpu_us_per_user);
        Ok(vec![floor, pulse])
    }

    /// One run of the pulse as a row.
    pub(crate) fn row(
        &self,
        program: &str,
        cell: &Cell,
        cloud: &Cloud,
        flags: &[&str],
        variables: &[(&str, String)],
    ) -> Result<Row> {
        let concurrency = cell.concurrency.to_string();
        let mut arguments = vec!["--concurrency", &concurrency];
        arguments.extend(flags);
        let mut pulse = self.pulse(cloud, &arguments, variables)?;
        let (synced, users) = (pulse.told.synced(), cell.users);
        if pulse.used.exit != Some(0) || synced != usize::try_from(users)? {
            let trouble = pulse.told.trouble.join("\n  ");
            return Err(format!(
                "{synced} of {users} users were synced, exit code {:?}\n  {trouble}",
                pulse.used.exit
            )
            .into());
        }
        self.compare(&pulse);
        let mut row = Row::new(program, cell, &pulse.used);
        row.times = pulse.told.times();
        row.per_user = Some(PerUser::new(&pulse.counted, users));
        Ok(row)
    }

    /// `pulse sync`, its log read from a pipe.
    pub(crate) fn pulse(
        &self,
        cloud: &Cloud,
        arguments: &[&str],
        variables: &[(&str, String)],
    ) -> Result<Pulse> {
        let before = cloud.counted()?;
        let into = self.file("pulse.json");
        let mut child = self
            .command(cloud, self.args.pulse.as_os_str(), &into)?
            .args(["sync", "--log-format", "json"])
            .args(arguments)
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .stdout(Stdio::piped())
            .spawn()?;
        let told = log::read(child.stdout.take().ok_or("no stdout")?)?;
        child.wait()?;
        let counted = cloud.counted()?.since(&before);
        Ok(Pulse { used: meter::read(&into)?, told, counted, claimed: cloud.claimed().ok() })
    }

    /// A metered command in an environment that leads to the cloud and has nothing else in it.
    pub(crate) fn command(&self, cloud: &Cloud, program: &OsStr, into: &Path) -> Result<Command> {
        let mut command = meter::metered(program, into)?;
        command.env_clear().envs(cloud.exports.iter().cloned()).stdin(Stdio::null());
        // Google's quota for a project would end at 80,000 users a minute what is measured here.
        command.env("PULSE_SECRET_ACCESSES_PER_MINUTE", "10000000");
        Ok(command)
    }

    fn floor(&self, cloud: &Cloud, concurrency: u32) -> Result<Used> {
        let into = self.file("floor.json");
        let status = self
            .command(cloud, std::env::current_exe()?.as_os_str(), &into)?
            .args(["floor", "--concurrency", &concurrency.to_string()])
            .args(self.floor_arguments(cloud)?)
            .status()?;
        let used = meter::read(&into)?;
        if status.success() && used.exit == Some(0) { Ok(used) } else { Err("the floor failed".into()) }
    }

    /// What leads the floor to a cloud, all but its concurrency.
    pub(crate) fn floor_arguments(&self, cloud: &Cloud) -> Result<Vec<OsString>> {
        let recording = self.recording(cloud.users)?;
        let address = ["--address".into(), cloud.address().into()];
        let users = ["--users".into(), cloud.users.to_string().into()];
        Ok([address, users, ["--recording".into(), recording.into()]].concat())
    }

    /// The file with what the pulse sends.
    fn recording(&self, users: u32) -> Result<PathBuf> {
        let file = self.file("recording.json");
        let mut recorded = self.recorded.borrow_mut();
        if *recorded < users {
            serde_json::to_writer(File::create(&file)?, &record(&self.args.pulse, users)?)?;
            *recorded = users;
        }
        Ok(file)
    }

    /// What the pulse publishes has to be what the sandbox saw.
    fn compare(&self, pulse: &Pulse) {
        let Some(claimed) = pulse.claimed else {
            return self.note("ops/last_pulse does not say what the pass used".into());
        };
        let seen = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let seen = Claimed {
            firestore_reads: seen(pulse.counted.documents.read),
            firestore_writes: seen(pulse.counted.documents.written),
            secret_accesses: seen(pulse.counted.calls("secret-manager", "AccessSecretVersion")),
            alpaca_calls: seen(pulse.counted.calls("alpaca", "GetAccount")),
        };
        if claimed != seen {
            self.note(format!("ops/last_pulse claims {claimed:?}, the sandbox counted {seen:?}"));
        }
    }
}

impl Drop for Bench<'_> {
    fn drop(&mut self) {
        // Nothing but the measurements' own files.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The run with the middle CPU time.
fn middle(mut rows: Vec<Row>) -> Result<Row> {
    rows.sort_by(|a, b| a.cpu_us_per_user.total_cmp(&b.cpu_us_per_user));
    let middle = rows.len() / 2;
    Ok(rows.into_iter().nth(middle).ok_or("no run")?)
}
