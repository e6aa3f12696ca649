// SPDX-License-Identifier: Apache-2.0
//! The kernel's side of FUSE: its requests and answers as bytes, in the machine's own byte order.
//!
//! Owns: layouts (those of `linux/fuse.h`, protocol 7.31), and which request asks what of the files. Must not know: faults' reasons.
//!
//! ```text
//! request  len u32, opcode u32, unique u64, node u64, uid u32, gid u32, pid u32, padding u32    then the opcode's own
//! answer   len u32, error i32 (negative), unique u64                                            then the opcode's own
//! ```
//! What is not known is answered ENOSYS, which the kernel takes for "not offered".

use super::Fault;
use super::files::{BYTES_MAX, Call, Errno, Facts, Files, PAGE};

const HEAD_BYTES: usize = 40;
const WRITE_BYTES_MAX: u32 = 1024 * 1024;
/// A request: the largest write with its heads.
pub const REQUEST_BYTES_MAX: usize = WRITE_BYTES_MAX as usize + 8192;

const LOOKUP: u32 = 1;
const FORGET: u32 = 2;
const GETATTR: u32 = 3;
const SETATTR: u32 = 4;
const MKDIR: u32 = 9;
const UNLINK: u32 = 10;
const RMDIR: u32 = 11;
const RENAME: u32 = 12;
const LINK: u32 = 13;
const OPEN: u32 = 14;
const READ: u32 = 15;
const WRITE: u32 = 16;
const STATFS: u32 = 17;
const RELEASE: u32 = 18;
const FSYNC: u32 = 20;
const FLUSH: u32 = 25;
const INIT: u32 = 26;
const OPENDIR: u32 = 27;
const READDIR: u32 = 28;
const RELEASEDIR: u32 = 29;
const FSYNCDIR: u32 = 30;
const CREATE: u32 = 35;
const INTERRUPT: u32 = 36;
const DESTROY: u32 = 38;
const BATCH_FORGET: u32 = 42;
const RENAME2: u32 = 45;

/// Writes larger than a page, and requests of more than 32 pages.
const BIG_WRITES: u32 = 1 << 5;
const MAX_PAGES: u32 = 1 << 22;
const SET_SIZE: u32 = 1 << 3;
const DIRECT_IO: u32 = 1;
/// How long the kernel may believe names and sizes: nobody else changes them.
const VALID_S: u64 = 3_600;

/// A request of the kernel.
pub struct Request<'a> {
    opcode: u32,
    pub unique: u64,
    pub node: u64,
    body: &'a [u8],
}

/// What it is answered.
#[derive(Debug)]
pub enum Answer {
    Error(Errno),
    Body(Vec<u8>),
}

impl Answer {
    /// With its head.
    pub fn bytes(self, unique: u64) -> Vec<u8> {
        let (error, body) = match self {
            Answer::Error(Errno(number)) => (-number, Vec::new()),
            Answer::Body(body) => (0, body),
        };
        let mut bytes = Encoder::default();
        bytes.u32(16 + body.len() as u32).u32(error as u32).u64(unique);
        bytes.0.extend_from_slice(&body);
        bytes.0
    }
}

#[derive(Default)]
struct Encoder(Vec<u8>);

impl Encoder {
    fn u32(&mut self, value: u32) -> &mut Encoder {
        self.0.extend_from_slice(&value.to_ne_bytes());
        self
    }

    fn u64(&mut self, value: u64) -> &mut Encoder {
        self.0.extend_from_slice(&value.to_ne_bytes());
        self
    }

    fn zeros(&mut self, count: usize) {
        self.0.resize(self.0.len() + count, 0);
    }

    fn facts(&mut self, facts: &Facts) -> &mut Encoder {
        let (mode, links) = if facts.is_directory { (0o040_700, 2) } else { (0o100_600, 1) };
        self.u64(facts.node).u64(facts.bytes).u64(facts.bytes.div_ceil(512));
        // Times, whole and in nanoseconds.
        self.u64(0).u64(0).u64(0).u32(0).u32(0).u32(0);
        // Mode, links, owner, group, device, block size, flags.
        self.u32(mode).u32(links).u32(0).u32(0).u32(0).u32(PAGE as u32).u32(0)
    }

    /// A node that the kernel learns of.
    fn entry(&mut self, facts: &Facts) -> &mut Encoder {
        self.u64(facts.node).u64(0).u64(VALID_S).u64(VALID_S).u32(0).u32(0).facts(facts)
    }

    fn opened(&mut self) -> &mut Encoder {
        self.u64(0).u32(DIRECT_IO).u32(0)
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

impl<'a> Request<'a> {
    /// Takes what one read of the device gave.
    pub fn parse(bytes: &'a [u8]) -> Option<Request<'a>> {
        Some(Request {
            opcode: u32_at(bytes, 4)?,
            unique: u64_at(bytes, 8)?,
            node: u64_at(bytes, 16)?,
            body: bytes.get(HEAD_BYTES..)?,
        })
    }

    pub fn is_greeting(&self) -> bool {
        self.opcode == INIT
    }

    /// It wants no answer.
    pub fn is_silent(&self) -> bool {
        matches!(self.opcode, FORGET | BATCH_FORGET | INTERRUPT)
    }

    /// What faults can hit.
    pub fn call(&self) -> Option<Call> {
        match self.opcode {
            READ => Some(Call::Read),
            WRITE => Some(Call::Write),
            FSYNC => Some(Call::Sync),
            FSYNCDIR => Some(Call::SyncDir),
            _ => None,
        }
    }

    fn u32(&self, at: usize) -> Result<u32, Errno> {
        u32_at(self.body, at).ok_or(Errno::INVAL)
    }

    fn u64(&self, at: usize) -> Result<u64, Errno> {
        u64_at(self.body, at).ok_or(Errno::INVAL)
    }

    /// The names behind the first bytes of the body, each ended by a zero.
    fn names(&self, at: usize) -> Result<impl Iterator<Item = &'a str>, Errno> {
        let names = self.body.get(at..).ok_or(Errno::INVAL)?;
        Ok(names.split(|byte| *byte == 0).filter_map(|name| std::str::from_utf8(name).ok()))
    }

    fn name(&self, at: usize) -> Result<&'a str, Errno> {
        self.names(at)?.next().filter(|name| !name.is_empty()).ok_or(Errno::INVAL)
    }

    fn two_names(&self, at: usize) -> Result<(&'a str, &'a str), Errno> {
        let mut names = self.names(at)?;
        names.next().zip(names.next()).ok_or(Errno::INVAL)
    }
}

/// The answer to the first request: the version, and how much at once.
pub fn greeting() -> Answer {
    let mut out = Encoder::default();
    // Version; read ahead (none: direct IO); flags; requests in the background, and when that is many (two halves of a word).
    out.u32(7).u32(31).u32(0).u32(BIG_WRITES | MAX_PAGES).u32(12 << 16 | 16);
    // Largest write; grain of times; pages of a request; further flags and room.
    out.u32(WRITE_BYTES_MAX).u32(1).u32(WRITE_BYTES_MAX / PAGE as u32).u32(0).u32(0);
    out.zeros(24);
    Answer::Body(out.0)
}

/// Does it, or what the fault makes of it.
pub fn carry_out(request: &Request<'_>, files: &mut Files, fault: Option<Fault>) -> Option<Answer> {
    match request.opcode {
        FORGET => {
            files.leave(request.node, request.u64(0).unwrap_or(0));
            return None;
        }
        BATCH_FORGET => {
            let count = request.u32(0).unwrap_or(0) as usize;
            for at in (8..).step_by(16).take(count) {
                let (Ok(node), Ok(times)) = (request.u64(at), request.u64(at + 8)) else { break };
                files.leave(node, times);
            }
            return None;
        }
        INTERRUPT => return None,
        _ => {}
    }
    Some(match body(request, files, fault) {
        Ok(body) => Answer::Body(body),
        Err(error) => Answer::Error(error),
    })
}

fn body(request: &Request<'_>, files: &mut Files, fault: Option<Fault>) -> Result<Vec<u8>, Errno> {
    let node = request.node;
    let mut out = Encoder::default();
    match request.opcode {
        LOOKUP => drop(out.entry(&files.visit(node, request.name(0)?)?)),
        GETATTR => drop(out.u64(VALID_S).u64(0).facts(&files.facts(node)?)),
        SETATTR => {
            if request.u32(0)? & SET_SIZE != 0 {
                files.resize(node, request.u64(16)?)?;
            }
            out.u64(VALID_S).u64(0).facts(&files.facts(node)?);
        }
        MKDIR => drop(out.entry(&files.make(node, request.name(8)?, true)?)),
        CREATE => drop(out.entry(&files.make(node, request.name(16)?, false)?).opened()),
        LINK => drop(out.entry(&files.link(request.u64(0)?, node, request.name(8)?)?)),
        UNLINK | RMDIR => files.remove(node, request.name(0)?)?,
        RENAME => {
            let (name, new_name) = request.two_names(8)?;
            files.rename(node, name, request.u64(0)?, new_name)?;
        }
        RENAME2 if request.u32(8)? == 0 => {
            let (name, new_name) = request.two_names(16)?;
            files.rename(node, name, request.u64(0)?, new_name)?;
        }
        OPEN | OPENDIR => drop(out.opened()),
        READ => {
            failed(fault)?;
            out.0.extend_from_slice(files.read(node, request.u64(8)?, request.u32(16)? as usize)?);
        }
        WRITE => {
            let (at, bytes) = (request.u64(8)?, request.body.get(HEAD_BYTES..).ok_or(Errno::INVAL)?);
            let bytes = bytes.get(..request.u32(16)? as usize).ok_or(Errno::INVAL)?;
            let part = match fault {
                Some(Fault::Short | Fault::Torn) => &bytes[..bytes.len().div_ceil(2)],
                _ => bytes,
            };
            failed(fault)?;
            files.write(node, at, part)?;
            if fault == Some(Fault::Torn) {
                return Err(Errno::IO);
            }
            out.u32(part.len() as u32).u32(0);
        }
        FSYNC | FSYNCDIR => match fault {
            Some(Fault::Fails(error)) => {
                files.sync_fails(node);
                return Err(error);
            }
            Some(Fault::Forgotten) => {}
            _ => files.sync(node)?,
        },
        STATFS => {
            let free = (BYTES_MAX - files.bytes().min(BYTES_MAX)) / PAGE as u64;
            out.u64(BYTES_MAX / PAGE as u64).u64(free).u64(free).u64(1 << 20).u64(1 << 20);
            out.u32(PAGE as u32).u32(255).u32(PAGE as u32).u32(0);
            out.zeros(24);
        }
        READDIR => {
            let (from, room) = (request.u64(8)?, request.u32(16)? as usize);
            for (number, (name, facts)) in (1..).zip(files.list(node)?).skip(from as usize) {
                let padded = name.len().next_multiple_of(8);
                if out.0.len() + 24 + padded > room {
                    break;
                }
                // The type is the upper part of a mode.
                out.u64(facts.node).u64(number).u32(name.len() as u32).u32(if facts.is_directory { 4 } else { 8 });
                out.0.extend_from_slice(name.as_bytes());
                out.0.resize(out.0.len() + padded - name.len(), 0);
            }
        }
        FLUSH | RELEASE | RELEASEDIR | DESTROY => {}
        _ => return Err(Errno::NOSYS),
    }
    Ok(out.0)
}

fn failed(fault: Option<Fault>) -> Result<(), Errno> {
    match fault {
        Some(Fault::Fails(error)) => Err(error),
        _ => Ok(()),
    }
}
