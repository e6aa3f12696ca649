// SPDX-License-Identifier: Apache-2.0
//! The guest's drive: a disk with a volatile cache, served to QEMU over a Unix socket in the protocol of network block devices.
//!
//! Owns: what is durable and what is not. A write is in the cache until a flush; a flush that was answered has made everything before
//! it durable, and nothing after it; at a cut of the power any part of what was not flushed may have reached the platter: nothing, the
//! oldest of it, some of the writes, or some of their sectors. A sector is old or new, never in between, and never newer than a later
//! version of itself.
//! Must not know: what is on the disk.
//!
//! A flush may take its time ([`Pace`]), and requests go on being served meanwhile, so that much is unflushed at once. A cut may wait for a
//! flush ([`Trigger`]): when one comes with enough behind it, the drive falls silent, takes what still arrives into its cache, and answers
//! nobody any more.
//!
//! Why of our own: QEMU's drives hand writes to the host's page cache, or straight to its disk, and neither forgets anything when QEMU
//! is killed. Bytes that the guest wrote and never flushed would be there again, which no machine promises.
//!
//! Source: the NBD protocol document, fixed newstyle handshake, `NBD_OPT_GO`, simple replies. One client; only flushes are answered late.

use sim::rng::Rng;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Write};
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What a drive writes in one piece or not at all.
const SECTOR_BYTES: usize = 512;
/// A full cache makes its oldest writes durable, as a drive's does.
const CACHE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Flushes that wait for their time; one more is carried out at once, with all before it.
const FLUSHES_WAITING_MAX: usize = 64;
/// No request is larger; one that claims to be ends the connection.
const REQUEST_BYTES_MAX: u32 = 32 * 1024 * 1024;
/// Bytes of options of a handshake.
const OPTION_BYTES_MAX: u32 = 4096;

const OPTION_MAGIC: u64 = 0x4948_4156_454f_5054;
const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
const REQUEST_MAGIC: u32 = 0x2560_9513;
const REPLY_MAGIC: u32 = 0x6744_6698;
const OPTION_ABORT: u32 = 2;
const OPTION_GO: u32 = 7;
const REPLY_ACK: u32 = 1;
const REPLY_INFO: u32 = 3;
const REPLY_UNSUPPORTED: u32 = 0x8000_0001;
/// Has flags, takes flushes, takes writes that are durable when they are answered.
const EXPORT_FLAGS: u16 = 1 | 1 << 2 | 1 << 3;
const FLAG_DURABLE: u16 = 1;
const EINVAL: u32 = 22;

type Sector = [u8; SECTOR_BYTES];

/// A write that no flush has followed.
struct Unflushed {
    number: u64,
    first: u64,
    sectors: Vec<Sector>,
}

/// How long flushes take, in microseconds.
pub struct Pace {
    pub rng: Rng,
    pub flush_us: Range<u64>,
}

/// A flush that was asked for and is not carried out yet.
struct Waiting {
    handle: [u8; 8],
    /// The number of the first write after it.
    before: u64,
    due: Instant,
}

/// The flush at which the power is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aim {
    /// So many sectors must be unflushed when it comes.
    pub sectors_min: u64,
    /// It is still carried out, and only its answer is lost.
    pub is_done: bool,
}

#[derive(Default)]
struct Armed {
    aim: Option<Aim>,
    silent: bool,
}

/// How the rig tells the drive at which flush to fall silent, and hears that it has.
#[derive(Clone, Default)]
pub struct Trigger(Arc<(Mutex<Armed>, Condvar)>);

impl Trigger {
    /// Waits until the drive has fallen silent; false when no such flush came in that time.
    pub fn fire(&self, aim: Aim, patience: Duration) -> bool {
        let (armed, fell) = &*self.0;
        let mut armed = armed.lock().unwrap_or_else(PoisonError::into_inner);
        armed.aim = Some(aim);
        let until = Instant::now() + patience;
        while !armed.silent {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                armed.aim = None;
                return false;
            }
            armed = fell.wait_timeout(armed, left).map_or_else(|error| error.into_inner().0, |(armed, _)| armed);
        }
        true
    }

    /// A flush came. The aim, if this is the one.
    fn flush(&self, unflushed_sectors: u64) -> Option<Aim> {
        let (armed, fell) = &*self.0;
        let mut armed = armed.lock().unwrap_or_else(PoisonError::into_inner);
        let aim = armed.aim.filter(|aim| unflushed_sectors >= aim.sectors_min)?;
        armed.silent = true;
        fell.notify_all();
        Some(aim)
    }
}

/// What a cut did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// Writes that had not been flushed.
    pub unflushed: u64,
    /// Their sectors, each as often as it was written.
    pub sectors: u64,
    /// Of those: not on the platter.
    pub sectors_lost: u64,
    /// Of those: not a sector of it is there.
    pub lost: u64,
    /// Of those: some sectors are there.
    pub torn: u64,
}

impl Cut {
    pub fn add(&mut self, more: Cut) {
        self.unflushed += more.unflushed;
        self.sectors += more.sectors;
        self.sectors_lost += more.sectors_lost;
        self.lost += more.lost;
        self.torn += more.torn;
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} writes of {} sectors were not flushed: {} writes lost, {} torn, {} sectors lost",
            self.unflushed, self.sectors, self.lost, self.torn, self.sectors_lost
        )
    }
}

/// The disk. Its durable part is a file.
pub struct Drive {
    platter: File,
    bytes: u64,
    unflushed: VecDeque<Unflushed>,
    unflushed_bytes: usize,
    /// The latest version of each sector that has an unflushed one, with the number of its write.
    cached: BTreeMap<u64, (u64, Sector)>,
    next_number: u64,
    pub flushes: u64,
    /// `None`: a flush takes no time.
    pub pace: Option<Pace>,
    pub trigger: Trigger,
}

impl Drive {
    /// # Errors
    /// The image cannot be opened.
    pub fn open(image: &Path) -> io::Result<Drive> {
        let platter = OpenOptions::new().read(true).write(true).open(image)?;
        let bytes = platter.metadata()?.len();
        let (unflushed, cached) = (VecDeque::new(), BTreeMap::new());
        Ok(Drive {
            platter,
            bytes,
            unflushed,
            unflushed_bytes: 0,
            cached,
            next_number: 0,
            flushes: 0,
            pace: None,
            trigger: Trigger::default(),
        })
    }

    fn holds(&self, at: u64, len: u64) -> bool {
        let whole = |number: u64| number.is_multiple_of(SECTOR_BYTES as u64);
        whole(at) && whole(len) && at.checked_add(len).is_some_and(|end| end <= self.bytes)
    }

    fn read(&self, at: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.platter.read_exact_at(bytes, at)?;
        let first = at / SECTOR_BYTES as u64;
        let end = first + (bytes.len() / SECTOR_BYTES) as u64;
        for (sector, (_, content)) in self.cached.range(first..end) {
            let from = (sector - first) as usize * SECTOR_BYTES;
            bytes[from..from + SECTOR_BYTES].copy_from_slice(content);
        }
        Ok(())
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let first = at / SECTOR_BYTES as u64;
        let (sectors, _) = bytes.as_chunks::<SECTOR_BYTES>();
        let number = self.next_number;
        self.next_number += 1;
        for (sector, content) in (first..).zip(sectors) {
            self.cached.insert(sector, (number, *content));
        }
        self.unflushed_bytes += bytes.len();
        self.unflushed.push_back(Unflushed { number, first, sectors: sectors.to_vec() });
        while self.unflushed_bytes > CACHE_BYTES_MAX && self.settle_oldest()? {}
        Ok(())
    }

    /// Makes the oldest write durable; false when there is none.
    fn settle_oldest(&mut self) -> io::Result<bool> {
        let Some(oldest) = self.unflushed.pop_front() else { return Ok(false) };
        self.unflushed_bytes -= oldest.sectors.len() * SECTOR_BYTES;
        self.platter.write_all_at(oldest.sectors.as_flattened(), oldest.first * SECTOR_BYTES as u64)?;
        for sector in (oldest.first..).take(oldest.sectors.len()) {
            if self.cached.get(&sector).is_some_and(|(latest, _)| *latest == oldest.number) {
                self.cached.remove(&sector);
            }
        }
        Ok(true)
    }

    /// Makes every write before that number durable.
    fn flush(&mut self, before: u64) -> io::Result<()> {
        self.flushes += 1;
        while self.unflushed.front().is_some_and(|oldest| oldest.number < before) && self.settle_oldest()? {}
        Ok(())
    }

    fn forget(&mut self) {
        self.cached.clear();
        self.unflushed.clear();
        self.unflushed_bytes = 0;
    }

    /// The power is gone. What was not flushed is lost, or there in part: in the order of the writes, so that a sector
    /// never holds an older version under a newer one that was kept.
    ///
    /// # Errors
    /// The image cannot be written.
    pub fn cut(&mut self, rng: &mut Rng) -> io::Result<Cut> {
        let sectors: usize = self.unflushed.iter().map(|write| write.sectors.len()).sum();
        let mut cut = Cut { unflushed: self.unflushed.len() as u64, sectors: sectors as u64, ..Cut::default() };
        // A quarter of the cuts each: all of it lost; the oldest kept up to a sector; whole writes kept or lost; sectors kept or lost.
        let (mut in_order, writes_kept, sectors_kept) = match rng.below(4) {
            0 => (0, 0, 0),
            1 => (rng.below(sectors as u64 + 1), 0, 0),
            2 => (0, rng.within(10..95), 100),
            _ => (0, 100, rng.within(10..95)),
        };
        for write in &self.unflushed {
            let kept = rng.percent(writes_kept);
            let mut there = 0;
            for (sector, content) in (write.first..).zip(&write.sectors) {
                let is_early = in_order > 0;
                in_order = in_order.saturating_sub(1);
                if is_early || (kept && rng.percent(sectors_kept)) {
                    self.platter.write_all_at(content, sector * SECTOR_BYTES as u64)?;
                    there += 1;
                }
            }
            cut.sectors_lost += (write.sectors.len() - there) as u64;
            cut.lost += u64::from(there == 0);
            cut.torn += u64::from(there > 0 && there < write.sectors.len());
        }
        self.forget();
        Ok(cut)
    }

    /// Takes one client and serves it until its connection ends: a client that is killed just ends. Hands the disk back.
    pub fn serve(mut self, listener: &UnixListener) -> (Drive, io::Result<()>) {
        let served = listener.accept().and_then(|(stream, _)| {
            let mut reader = BufReader::with_capacity(256 * 1024, stream.try_clone()?);
            if self.shake_hands(&mut reader, &stream)? { self.transmit(&mut reader, &stream) } else { Ok(()) }
        });
        let ended = |error: &io::Error| {
            use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
            matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
        };
        let served = if served.as_ref().is_err_and(ended) { Ok(()) } else { served };
        (self, served)
    }

    /// True when the client goes on to requests.
    fn shake_hands(&self, reader: &mut impl Read, mut stream: &UnixStream) -> io::Result<bool> {
        let mut hello = b"NBDMAGIC".to_vec();
        hello.extend(OPTION_MAGIC.to_be_bytes());
        // Fixed newstyle, no zeroes.
        hello.extend(3u16.to_be_bytes());
        stream.write_all(&hello)?;
        take::<4>(reader)?;
        loop {
            if u64::from_be_bytes(take(reader)?) != OPTION_MAGIC {
                return Err(malformed("an option"));
            }
            let option = u32::from_be_bytes(take(reader)?);
            let len = u32::from_be_bytes(take(reader)?);
            if len > OPTION_BYTES_MAX {
                return Err(malformed("the length of an option"));
            }
            io::copy(&mut reader.by_ref().take(u64::from(len)), &mut io::sink())?;
            let answer = |kind: u32, data: &[u8]| {
                let mut reply = OPTION_REPLY_MAGIC.to_be_bytes().to_vec();
                for number in [option, kind, data.len() as u32] {
                    reply.extend(number.to_be_bytes());
                }
                reply.extend(data);
                reply
            };
            match option {
                OPTION_GO => {
                    let mut export = 0u16.to_be_bytes().to_vec();
                    export.extend(self.bytes.to_be_bytes());
                    export.extend(EXPORT_FLAGS.to_be_bytes());
                    let mut sizes = 3u16.to_be_bytes().to_vec();
                    for bytes in [SECTOR_BYTES as u32, 4096, REQUEST_BYTES_MAX] {
                        sizes.extend(bytes.to_be_bytes());
                    }
                    let replies =
                        [answer(REPLY_INFO, &export), answer(REPLY_INFO, &sizes), answer(REPLY_ACK, &[])].concat();
                    stream.write_all(&replies)?;
                    return Ok(true);
                }
                OPTION_ABORT => {
                    stream.write_all(&answer(REPLY_ACK, &[]))?;
                    return Ok(false);
                }
                _ => stream.write_all(&answer(REPLY_UNSUPPORTED, &[]))?,
            }
        }
    }

    fn transmit(&mut self, reader: &mut BufReader<UnixStream>, mut stream: &UnixStream) -> io::Result<()> {
        let mut bytes = Vec::new();
        let mut waiting: VecDeque<Waiting> = VecDeque::new();
        let mut is_silent = false;
        loop {
            while let Some(first) = waiting.front().filter(|_| !is_silent) {
                let left = first.due.saturating_duration_since(Instant::now());
                let over = left.is_zero() || waiting.len() > FLUSHES_WAITING_MAX;
                if !over && (!reader.buffer().is_empty() || readable(stream, left)?) {
                    break;
                }
                if over && let Some(first) = waiting.pop_front() {
                    self.flush(first.before)?;
                    stream.write_all(&reply(0, first.handle))?;
                }
            }
            if u32::from_be_bytes(take(reader)?) != REQUEST_MAGIC {
                return Err(malformed("a request"));
            }
            let flags = u16::from_be_bytes(take(reader)?);
            let kind = u16::from_be_bytes(take(reader)?);
            let handle: [u8; 8] = take(reader)?;
            let at = u64::from_be_bytes(take(reader)?);
            let len = u32::from_be_bytes(take(reader)?);
            if len > REQUEST_BYTES_MAX {
                return Err(malformed("the length of a request"));
            }
            bytes.clear();
            let mut error = 0;
            match kind {
                0 if self.holds(at, u64::from(len)) => {
                    bytes.resize(len as usize, 0);
                    self.read(at, &mut bytes)?;
                }
                1 => {
                    bytes.resize(len as usize, 0);
                    reader.read_exact(&mut bytes)?;
                    if self.holds(at, u64::from(len)) {
                        self.write(at, &bytes)?;
                        if flags & FLAG_DURABLE != 0 && !is_silent {
                            self.flush(self.next_number)?;
                        }
                    } else {
                        error = EINVAL;
                    }
                    bytes.clear();
                }
                2 => return Ok(()),
                3 if is_silent => {}
                3 => {
                    let before = self.next_number;
                    let delay_us = self.pace.as_mut().map_or(0, |pace| pace.rng.within(pace.flush_us.clone()));
                    if let Some(aim) = self.trigger.flush((self.unflushed_bytes / SECTOR_BYTES) as u64) {
                        is_silent = true;
                        if aim.is_done {
                            self.flush(before)?;
                        }
                    } else if delay_us > 0 || !waiting.is_empty() {
                        let due = Instant::now() + Duration::from_micros(delay_us);
                        waiting.push_back(Waiting { handle, before, due });
                        continue;
                    } else {
                        self.flush(before)?;
                    }
                }
                _ => error = EINVAL,
            }
            if is_silent {
                continue;
            }
            let mut reply = reply(error, handle);
            reply.extend(&bytes);
            stream.write_all(&reply)?;
        }
    }
}

fn reply(error: u32, handle: [u8; 8]) -> Vec<u8> {
    let mut reply = REPLY_MAGIC.to_be_bytes().to_vec();
    reply.extend(error.to_be_bytes());
    reply.extend(handle);
    reply
}

/// True when a request, or the end of the connection, came in that time.
fn readable(stream: &UnixStream, patience: Duration) -> io::Result<bool> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let wait = Timespec::try_from(patience).map_err(io::Error::other)?;
    let mut waited = [PollFd::from_borrowed_fd(stream.as_fd(), PollFlags::IN)];
    Ok(poll(&mut waited, Some(&wait))? > 0)
}

fn take<const COUNT: usize>(reader: &mut impl Read) -> io::Result<[u8; COUNT]> {
    let mut bytes = [0; COUNT];
    reader.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{what} is not as the protocol says"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECTORS: u64 = 64;

    fn drive(name: &str) -> Drive {
        let image = std::env::temp_dir().join(format!("polylog-drive-{}-{name}", std::process::id()));
        File::create(&image).unwrap().set_len(SECTORS * SECTOR_BYTES as u64).unwrap();
        let drive = Drive::open(&image).unwrap();
        std::fs::remove_file(image).unwrap();
        drive
    }

    fn sector(drive: &Drive, number: u64) -> u8 {
        let mut bytes = [0; SECTOR_BYTES];
        drive.read(number * SECTOR_BYTES as u64, &mut bytes).unwrap();
        assert!(bytes.iter().all(|byte| *byte == bytes[0]), "a sector is never torn");
        bytes[0]
    }

    #[test]
    fn what_was_flushed_stays_and_what_was_not_is_old_or_new() {
        let (mut lost, mut kept) = (0, 0);
        for seed in 0..60 {
            let mut drive = drive("flush");
            drive.write(0, &[1; SECTOR_BYTES * 8]).unwrap();
            drive.flush(drive.next_number).unwrap();
            for version in 2..5 {
                drive.write(4 * SECTOR_BYTES as u64, &[version; SECTOR_BYTES * 8]).unwrap();
            }
            assert_eq!((sector(&drive, 3), sector(&drive, 4)), (1, 4), "a read sees the cache");
            let cut = drive.cut(&mut Rng::of(seed, 0)).unwrap();
            assert_eq!((cut.unflushed, cut.sectors), (3, 24));
            assert!(cut.sectors_lost <= 24 && cut.lost + cut.torn <= 3, "{cut:?}");
            assert!((0..4).all(|number| sector(&drive, number) == 1));
            assert!((12..SECTORS).all(|number| sector(&drive, number) == 0));
            lost += u64::from((4..12).all(|number| sector(&drive, number) < 2));
            kept += u64::from((4..12).any(|number| sector(&drive, number) >= 2));
        }
        assert!(lost > 5 && kept > 5, "{lost} lost, {kept} kept");
    }

    #[test]
    fn a_flush_makes_durable_what_was_before_it_and_nothing_else() {
        let mut drive = drive("prefix");
        drive.write(0, &[1; SECTOR_BYTES * 2]).unwrap();
        let before = drive.next_number;
        drive.write(SECTOR_BYTES as u64, &[2; SECTOR_BYTES * 2]).unwrap();
        drive.flush(before).unwrap();
        assert_eq!((sector(&drive, 0), sector(&drive, 1), sector(&drive, 2)), (1, 2, 2), "a read sees the cache");
        drive.forget();
        assert_eq!((sector(&drive, 0), sector(&drive, 1), sector(&drive, 2)), (1, 1, 0));
    }

    /// The client's side: a request without data, or with.
    fn request(stream: &mut UnixStream, kind: u16, handle: u8, at: u64, data: &[u8]) {
        let mut bytes = REQUEST_MAGIC.to_be_bytes().to_vec();
        bytes.extend(0u16.to_be_bytes());
        bytes.extend(kind.to_be_bytes());
        bytes.extend([handle; 8]);
        bytes.extend(at.to_be_bytes());
        bytes.extend((data.len() as u32).to_be_bytes());
        bytes.extend(data);
        stream.write_all(&bytes).unwrap();
    }

    fn answered(stream: &mut UnixStream) -> u8 {
        take::<16>(stream).unwrap()[8]
    }

    #[test]
    fn writes_overtake_a_slow_flush_and_stay_unflushed() {
        let mut drive = drive("slow");
        drive.pace = Some(Pace { rng: Rng::of(1, 0), flush_us: 50_000..50_001 });
        let (mut client, server) = UnixStream::pair().unwrap();
        request(&mut client, 1, 1, 0, &[1; SECTOR_BYTES]);
        request(&mut client, 3, 2, 0, &[]);
        request(&mut client, 1, 3, 512, &[1; SECTOR_BYTES]);
        let served = std::thread::spawn(move || {
            let mut reader = BufReader::new(server.try_clone().unwrap());
            let _ = drive.transmit(&mut reader, &server);
            drive
        });
        assert_eq!([answered(&mut client), answered(&mut client), answered(&mut client)], [1, 3, 2]);
        drop(client);
        let mut drive = served.join().unwrap();
        assert_eq!((drive.unflushed.len(), drive.flushes), (1, 1));
        drive.forget();
        assert_eq!((sector(&drive, 0), sector(&drive, 1)), (1, 0));
    }

    #[test]
    fn a_drive_that_was_aimed_at_falls_silent_and_takes_what_still_comes() {
        for is_done in [false, true] {
            let mut drive = drive("silent");
            let trigger = drive.trigger.clone();
            let (mut client, server) = UnixStream::pair().unwrap();
            let served = std::thread::spawn(move || {
                let mut reader = BufReader::new(server.try_clone().unwrap());
                let _ = drive.transmit(&mut reader, &server);
                drive
            });
            let aimed =
                std::thread::spawn(move || trigger.fire(Aim { sectors_min: 2, is_done }, Duration::from_secs(20)));
            // Flushes with too little behind them are answered, until the aim is known and one has enough.
            let mut flushes = 0;
            while !aimed.is_finished() && flushes < 100_000 {
                flushes += 1;
                request(&mut client, 3, 9, 0, &[]);
                assert_eq!(answered(&mut client), 9);
                request(&mut client, 1, 1, 0, &[1; SECTOR_BYTES * 2]);
                assert_eq!(answered(&mut client), 1);
                request(&mut client, 3, 2, 0, &[]);
                client.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
                let mut first = [0; 16];
                if client.read_exact(&mut first).is_err() {
                    break;
                }
            }
            assert!(aimed.join().unwrap(), "it fell silent");
            request(&mut client, 1, 4, 2 * 512, &[4; SECTOR_BYTES]);
            drop(client);
            let mut drive = served.join().unwrap();
            assert_eq!(drive.unflushed.len(), if is_done { 1 } else { 2 });
            drive.forget();
            assert_eq!(sector(&drive, 2), 0);
        }
    }

    #[test]
    fn a_full_cache_makes_the_oldest_durable_and_reads_stay_right() {
        let mut drive = drive("full");
        let bytes = vec![7; SECTORS as usize * SECTOR_BYTES];
        for _ in 0..=CACHE_BYTES_MAX / bytes.len() {
            drive.write(0, &bytes).unwrap();
        }
        drive.write(0, &[8; SECTOR_BYTES]).unwrap();
        assert!(drive.unflushed_bytes <= CACHE_BYTES_MAX);
        assert_eq!((sector(&drive, 0), sector(&drive, 1)), (8, 7));
        drive.forget();
        assert_eq!((sector(&drive, 0), sector(&drive, 1)), (7, 7));
    }
}
