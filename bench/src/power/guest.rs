// SPDX-License-Identifier: Apache-2.0
//! A machine that can lose its power: QEMU without KVM, the broker inside, its disk served by [`Drive`].
//!
//! Owns: one boot of it, from start to cut, and what its second serial line says. Must not know: what is sent to the broker.
//!
//! The network is QEMU's own, restricted: the guest reaches nothing, and the host reaches one port over loopback. QEMU dies with the
//! thread that started it (`setpriv --pdeathsig`), so nothing is left behind however the rig ends.

use super::drive::{Aim, Cut, Drive, Pace, Trigger};
use crate::process;
use sim::rng::Rng;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Lines of the guest that nobody has taken; beyond, its serial line waits.
const LINES_MAX: usize = 64;

/// What to boot.
pub struct GuestPlan {
    pub kernel: PathBuf,
    pub initial: PathBuf,
    pub disk: PathBuf,
    /// What the kernel and the broker print, over all boots: one file a boot would be too many, so the last one.
    pub log: PathBuf,
    pub socket: PathBuf,
    /// Environment of the broker.
    pub settings: Vec<(String, String)>,
}

/// A guest that runs. Dropped, it is killed and its disk keeps what was flushed.
pub struct Guest {
    qemu: Child,
    drive: Option<JoinHandle<(Drive, io::Result<()>)>>,
    lines: Receiver<String>,
    orders: Option<std::process::ChildStdin>,
    log: PathBuf,
    socket: PathBuf,
    trigger: Trigger,
    /// Where the broker in it is reached.
    pub address: SocketAddr,
    /// When QEMU was started, and then when the broker was last.
    pub started: Instant,
}

impl Guest {
    /// Switches it on and waits until its broker serves. Its drive flushes at that pace.
    ///
    /// # Errors
    /// A sentence, with the end of the guest's log.
    pub fn boot(plan: &GuestPlan, pace: Option<Pace>, patience: Duration) -> Result<Guest, String> {
        let mut drive = Drive::open(&plan.disk).map_err(|error| format!("{}: {error}", plan.disk.display()))?;
        drive.pace = pace;
        let trigger = drive.trigger.clone();
        let _ = std::fs::remove_file(&plan.socket);
        let listener =
            UnixListener::bind(&plan.socket).map_err(|error| format!("{}: {error}", plan.socket.display()))?;
        let drive = std::thread::spawn(move || drive.serve(&listener));
        let address = free_address().map_err(|error| error.to_string())?;
        let started = Instant::now();
        let spawned = command(plan, address).spawn();
        let mut qemu = match spawned {
            Ok(qemu) => qemu,
            Err(error) => {
                // The server waits for a client: be it, and go.
                drop(UnixStream::connect(&plan.socket));
                let _ = drive.join();
                return Err(format!("qemu: {error}"));
            }
        };
        let (sender, lines) = sync_channel(LINES_MAX);
        let (orders, output) = (qemu.stdin.take(), qemu.stdout.take());
        std::thread::spawn(move || {
            for line in output.into_iter().flat_map(|output| BufReader::new(output).lines().map_while(Result::ok)) {
                if sender.send(line.trim().to_owned()).is_err() {
                    break;
                }
            }
        });
        let (log, socket) = (plan.log.clone(), plan.socket.clone());
        let mut guest = Guest { qemu, drive: Some(drive), lines, orders, log, socket, trigger, address, started };
        guest.wait_ready(patience)?;
        Ok(guest)
    }

    /// Waits for the broker's ready line.
    fn wait_ready(&mut self, patience: Duration) -> Result<(), String> {
        self.wait_line(patience, "the broker in the guest did not serve", |line| line.starts_with('{'))
    }

    fn wait_line(&mut self, patience: Duration, what: &str, wanted: impl Fn(&str) -> bool) -> Result<(), String> {
        let until = Instant::now() + patience;
        let failed = |why: String| Err(format!("{what}: {why}\n{}", process::tail_of(&self.log)));
        loop {
            match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) if wanted(&line) => return Ok(()),
                Ok(line) if line.starts_with("failed") || line.starts_with("ended") => return failed(line),
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => return failed(format!("nothing after {} s", patience.as_secs())),
                Err(RecvTimeoutError::Disconnected) => return failed("the guest is gone".to_owned()),
            }
        }
    }

    /// `kill -9` of the broker, the guest's kernel and page cache live on; then the broker again.
    ///
    /// # Errors
    /// It does not come back.
    pub fn kill_broker(&mut self, patience: Duration) -> Result<(), String> {
        self.order("kill")?;
        self.wait_line(patience, "the broker in the guest was not killed", |line| line == "ended 137")
    }

    /// Starts the broker again.
    ///
    /// # Errors
    /// It does not serve.
    pub fn serve_again(&mut self, patience: Duration) -> Result<(), String> {
        self.started = Instant::now();
        self.order("serve")?;
        self.wait_ready(patience)
    }

    fn order(&mut self, word: &str) -> Result<(), String> {
        let written = self.orders.as_mut().map_or(Ok(()), |orders| writeln!(orders, "{word}"));
        written.map_err(|error| format!("the guest takes no orders: {error}"))
    }

    /// True while nothing has ended by itself.
    pub fn lives(&mut self) -> bool {
        matches!(self.qemu.try_wait(), Ok(None)) && self.lines.try_recv().is_err()
    }

    /// Waits for a flush at which the power is to go. From then on the drive is silent, and [`Guest::cut`] must follow. False: none came.
    pub fn fall_silent(&self, aim: Aim, patience: Duration) -> bool {
        self.trigger.fire(aim, patience)
    }

    /// Takes the power away. The number of flushes of this boot comes with what the cut did.
    ///
    /// # Errors
    /// The disk's server failed: the rig is broken.
    pub fn cut(mut self, rng: &mut Rng) -> Result<(Cut, u64), String> {
        let mut drive = self.off()?;
        let cut = drive.cut(rng).map_err(|error| format!("the disk: {error}"))?;
        Ok((cut, drive.flushes))
    }

    fn off(&mut self) -> Result<Drive, String> {
        // In this order: what the guest still sends reaches a server that nobody hears any more.
        self.qemu.kill().map_err(|error| error.to_string())?;
        self.qemu.wait().map_err(|error| error.to_string())?;
        // A QEMU that ended before it connected leaves the server waiting.
        drop(UnixStream::connect(&self.socket));
        let drive = self.drive.take().ok_or("the disk is gone")?;
        let (drive, served) = drive.join().map_err(|_| "the disk's server panicked".to_owned())?;
        let _ = std::fs::remove_file(&self.socket);
        served.map_err(|error| format!("the disk's server: {error}"))?;
        Ok(drive)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        if self.drive.is_some() {
            let _ = self.off();
        }
    }
}

/// A port that was free a moment ago.
fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

fn command(plan: &GuestPlan, address: SocketAddr) -> Command {
    let settings: String = plan.settings.iter().map(|(name, value)| format!(" {name}={value}")).collect();
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-no-reboot"]);
    command.args(["-machine", "pc", "-accel", "tcg", "-cpu", "max", "-smp", "1", "-m", "768", "-display", "none"]);
    command.arg("-kernel").arg(&plan.kernel).arg("-initrd").arg(&plan.initial);
    // A panic of the guest's kernel ends QEMU, which is seen. Its look at the timer fails on a busy host: not now.
    let words = "console=ttyS0 quiet panic=-1 no_timer_check random.trust_cpu=on";
    command.args(["-append", &format!("{words}{settings}")]);
    command.args(["-serial", &format!("file:{}", shown(&plan.log))]);
    command.args(["-chardev", "stdio,id=orders,signal=off", "-serial", "chardev:orders"]);
    // No cache of QEMU's own, flushes passed on; the guest is told that the disk has a cache, as most have.
    let disk = format!(
        "driver=nbd,node-name=disk,server.type=unix,server.path={},cache.direct=on,cache.no-flush=off",
        shown(&plan.socket)
    );
    command.args(["-blockdev", &disk, "-device", "virtio-blk-pci,drive=disk,write-cache=on"]);
    let net = format!("user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{}-10.0.2.15:9092", address.port());
    command.args(["-netdev", &net, "-device", "virtio-net-pci,netdev=net,romfile="]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    command
}

/// A path inside an option of QEMU's, where a comma is written twice.
fn shown(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}
