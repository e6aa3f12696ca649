// SPDX-License-Identifier: Apache-2.0
//! The guest's drive: a disk with a volatile cache, served to QEMU over a Unix socket in the protocol of network block devices.
//!
//! Owns: what is durable and what is not. A write is in the cache until a flush; a flush that was answered has made everything before
//! it durable; at a cut of the power any part of what was not flushed may have reached the platter: nothing, some of the
//! writes, or some of their sectors. A sector is old or new, never in between, and never newer than a later version of itself.
//! Must not know: what is on the disk.
//!
//! Why of our own: QEMU's drives hand writes to the host's page cache, or straight to its disk, and neither forgets anything when QEMU
//! is killed. Bytes that the guest wrote and never flushed would be there again, which no machine promises.
//!
//! Source: the NBD protocol document, fixed newstyle handshake, `NBD_OPT_GO`, simple replies. One client, requests in their order.

use sim::rng::Rng;
use std::collections::{BTreeMap, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

/// What a drive writes in one piece or not at all.
const SECTOR_BYTES: usize = 512;
/// A full cache makes its oldest writes durable, as a drive's does.
const CACHE_BYTES_MAX: usize = 64 * 1024 * 1024;
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

/// What a cut did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// Writes that had not been flushed.
    pub unflushed: u64,
    /// Of those: not a sector of it is there.
    pub lost: u64,
    /// Of those: some sectors are there.
    pub torn: u64,
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
}

impl Drive {
    /// # Errors
    /// The image cannot be opened.
    pub fn open(image: &Path) -> io::Result<Drive> {
        let platter = OpenOptions::new().read(true).write(true).open(image)?;
        let bytes = platter.metadata()?.len();
        let (unflushed, cached) = (VecDeque::new(), BTreeMap::new());
        Ok(Drive { platter, bytes, unflushed, unflushed_bytes: 0, cached, next_number: 0, flushes: 0 })
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
        while self.unflushed_bytes > CACHE_BYTES_MAX {
            let Some(oldest) = self.unflushed.pop_front() else { break };
            self.unflushed_bytes -= oldest.sectors.len() * SECTOR_BYTES;
            self.platter.write_all_at(oldest.sectors.as_flattened(), oldest.first * SECTOR_BYTES as u64)?;
            for sector in (oldest.first..).take(oldest.sectors.len()) {
                if self.cached.get(&sector).is_some_and(|(latest, _)| *latest == oldest.number) {
                    self.cached.remove(&sector);
                }
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.flushes += 1;
        for (sector, (_, content)) in &self.cached {
            self.platter.write_all_at(content, sector * SECTOR_BYTES as u64)?;
        }
        self.forget();
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
        let mut cut = Cut { unflushed: self.unflushed.len() as u64, ..Cut::default() };
        // A third of the cuts each: all of it lost, whole writes kept or lost, sectors kept or lost.
        let (writes_kept, sectors_kept) = match rng.below(3) {
            0 => (0, 0),
            1 => (rng.within(10..95), 100),
            _ => (100, rng.within(10..95)),
        };
        for write in &self.unflushed {
            let kept = rng.percent(writes_kept);
            let mut there = 0;
            for (sector, content) in (write.first..).zip(&write.sectors) {
                if kept && rng.percent(sectors_kept) {
                    self.platter.write_all_at(content, sector * SECTOR_BYTES as u64)?;
                    there += 1;
                }
            }
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

    fn transmit(&mut self, reader: &mut impl Read, mut stream: &UnixStream) -> io::Result<()> {
        let mut bytes = Vec::new();
        loop {
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
                        if flags & FLAG_DURABLE != 0 {
                            self.flush()?;
                        }
                    } else {
                        error = EINVAL;
                    }
                    bytes.clear();
                }
                2 => return Ok(()),
                3 => self.flush()?,
                _ => error = EINVAL,
            }
            let mut reply = REPLY_MAGIC.to_be_bytes().to_vec();
            reply.extend(error.to_be_bytes());
            reply.extend(handle);
            reply.extend(&bytes);
            stream.write_all(&reply)?;
        }
    }
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
            drive.flush().unwrap();
            for version in 2..5 {
                drive.write(4 * SECTOR_BYTES as u64, &[version; SECTOR_BYTES * 8]).unwrap();
            }
            assert_eq!((sector(&drive, 3), sector(&drive, 4)), (1, 4), "a read sees the cache");
            let cut = drive.cut(&mut Rng::of(seed, 0)).unwrap();
            assert_eq!(cut.unflushed, 3);
            assert!((0..4).all(|number| sector(&drive, number) == 1));
            assert!((12..SECTORS).all(|number| sector(&drive, number) == 0));
            lost += u64::from((4..12).all(|number| sector(&drive, number) < 2));
            kept += u64::from((4..12).any(|number| sector(&drive, number) >= 2));
        }
        assert!(lost > 5 && kept > 5, "{lost} lost, {kept} kept");
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
