// SPDX-License-Identifier: Apache-2.0
//! Files in memory as two images: what a reader of this moment gets, and what a loss of power leaves.
//!
//! Owns: nodes, names, bytes, what of them is durable, and what a failed sync and a loss of power make of it. Must not know: the
//! protocol through which it is asked, when faults come.
//!
//! - A page written since its last sync remembers how it was then. A sync forgets that; a loss of power brings back any of its sectors.
//! - A directory remembers its changes since its last sync, in order; a loss of power leaves any first part of them, as a journal does.
//! - After a failed sync some pages are durable; the others read well and are *lost*: a later sync does not cover them until they are
//!   written again. That is what Linux does after a failed write-back.

use sim::rng::Rng;
use std::collections::BTreeMap;

/// All bytes of all files together; beyond, there is no space.
pub const BYTES_MAX: u64 = 512 * 1024 * 1024;
pub const PAGE: usize = 4096;
const SECTOR: usize = 512;
pub const ROOT: u64 = 1;

/// A system error number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(pub i32);

impl Errno {
    pub const NOENT: Errno = Errno(2);
    pub const IO: Errno = Errno(5);
    pub const EXIST: Errno = Errno(17);
    pub const NODEV: Errno = Errno(19);
    pub const NOTDIR: Errno = Errno(20);
    pub const ISDIR: Errno = Errno(21);
    pub const INVAL: Errno = Errno(22);
    pub const NOSPC: Errno = Errno(28);
    pub const NOSYS: Errno = Errno(38);
    pub const NOTEMPTY: Errno = Errno(39);
}

/// Requests that faults can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Read,
    Write,
    Sync,
    SyncDir,
}

/// What a file is for, by the directory that it is in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Place {
    #[default]
    Elsewhere,
    Log,
    Segments,
    Checkpoints,
}

impl Place {
    fn below(self, name: &str) -> Place {
        match name {
            "wal" => Place::Log,
            "seg" => Place::Segments,
            "ckpt" => Place::Checkpoints,
            _ => self,
        }
    }
}

/// A page as it is on the disk.
struct Durable {
    bytes: Box<[u8; PAGE]>,
    /// A sync of it failed: only writing it again makes it one that can be synced.
    lost: bool,
}

#[derive(Default)]
struct Content {
    bytes: Vec<u8>,
    durable_len: usize,
    /// By number: pages that differ from the disk.
    unsynced: BTreeMap<usize, Durable>,
}

/// One change of a directory: names, and what each was before.
type Change = Vec<(String, Option<u64>)>;

#[derive(Default)]
struct Directory {
    names: BTreeMap<String, u64>,
    unsynced: Vec<Change>,
}

enum Kind {
    File(Content),
    Directory(Directory),
}

struct Node {
    kind: Kind,
    place: Place,
    /// How often the system was told of it and has not forgotten it.
    visitors: u64,
}

/// What the system wants to know of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    pub node: u64,
    pub bytes: u64,
    pub is_directory: bool,
}

/// See the module.
pub struct Files {
    nodes: BTreeMap<u64, Node>,
    next: u64,
    bytes: u64,
}

impl Default for Files {
    fn default() -> Files {
        let root = Node { kind: Kind::Directory(Directory::default()), place: Place::Elsewhere, visitors: 1 };
        Files { nodes: BTreeMap::from([(ROOT, root)]), next: ROOT + 1, bytes: 0 }
    }
}

impl Content {
    /// Remembers the pages of a range as they are on the disk, unless they are remembered already.
    fn remember(&mut self, from: usize, to: usize) {
        for page in from / PAGE..to.div_ceil(PAGE) {
            let (bytes, durable_len) = (&self.bytes, self.durable_len);
            let before = self.unsynced.entry(page).or_insert_with(|| {
                let mut before = Box::new([0; PAGE]);
                let begin = (page * PAGE).min(bytes.len()).min(durable_len);
                let end = ((page + 1) * PAGE).min(bytes.len()).min(durable_len);
                before[..end - begin].copy_from_slice(&bytes[begin..end]);
                Durable { bytes: before, lost: false }
            });
            before.lost = false;
        }
    }

    fn resize(&mut self, len: usize) {
        self.remember(len.min(self.bytes.len()), len.max(self.bytes.len()));
        self.bytes.resize(len, 0);
    }

    fn write(&mut self, at: usize, bytes: &[u8]) {
        let end = at + bytes.len();
        self.remember(at.min(self.bytes.len()), end);
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[at..end].copy_from_slice(bytes);
    }

    fn sync(&mut self) {
        self.unsynced.retain(|_, page| page.lost);
        self.durable_len = self.bytes.len();
    }

    /// Some pages are written, the others are lost.
    fn sync_fails(&mut self) {
        // Every second one: which they are does not matter, that there are both does.
        let mut written = false;
        self.unsynced.retain(|_, page| {
            written = !written;
            page.lost |= !written;
            page.lost
        });
    }

    fn lose_power(&mut self, rng: &mut Rng) {
        // A length that grew may have reached the disk, or not.
        let len = if rng.once_in(2) { self.bytes.len().max(self.durable_len) } else { self.durable_len };
        let end = self.bytes.len().max(len);
        self.bytes.resize(end, 0);
        // Of this loss some writes are there in no sector, some in all, some in some.
        let percent = rng.pick(&[0, 0, 50, 90]);
        for (page, before) in std::mem::take(&mut self.unsynced) {
            for sector in (0..PAGE).step_by(SECTOR) {
                let begin = page * PAGE + sector;
                if begin >= end || (!before.lost && rng.percent(percent)) {
                    continue;
                }
                let bytes = SECTOR.min(end - begin);
                self.bytes[begin..begin + bytes].copy_from_slice(&before.bytes[sector..sector + bytes]);
            }
        }
        self.bytes.truncate(len);
        self.durable_len = len;
    }
}

impl Directory {
    fn set(&mut self, changes: &[(&str, Option<u64>)]) {
        let mut change = Change::new();
        for (name, node) in changes {
            let before = match node {
                Some(node) => self.names.insert((*name).to_owned(), *node),
                None => self.names.remove(*name),
            };
            change.push(((*name).to_owned(), before));
        }
        self.unsynced.push(change);
    }

    fn lose_power(&mut self, rng: &mut Rng) {
        let kept = rng.below(self.unsynced.len() as u64 + 1) as usize;
        for change in self.unsynced.drain(..).skip(kept).collect::<Vec<_>>().into_iter().rev() {
            for (name, before) in change.into_iter().rev() {
                match before {
                    Some(node) => self.names.insert(name, node),
                    None => self.names.remove(&name),
                };
            }
        }
    }

    fn knows(&self, node: u64) -> bool {
        let unsynced = self.unsynced.iter().flatten().any(|(_, before)| *before == Some(node));
        unsynced || self.names.values().any(|named| *named == node)
    }
}

impl Files {
    /// What a node is for.
    pub fn place(&self, node: u64) -> Place {
        self.nodes.get(&node).map(|node| node.place).unwrap_or_default()
    }

    pub fn facts(&self, node: u64) -> Result<Facts, Errno> {
        let (bytes, is_directory) = match &self.nodes.get(&node).ok_or(Errno::NOENT)?.kind {
            Kind::File(content) => (content.bytes.len() as u64, false),
            Kind::Directory(_) => (0, true),
        };
        Ok(Facts { node, bytes, is_directory })
    }

    /// Bytes in use.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    fn directory(&mut self, node: u64) -> Result<&mut Directory, Errno> {
        match &mut self.nodes.get_mut(&node).ok_or(Errno::NOENT)?.kind {
            Kind::Directory(directory) => Ok(directory),
            Kind::File(_) => Err(Errno::NOTDIR),
        }
    }

    fn content(&mut self, node: u64) -> Result<&mut Content, Errno> {
        match &mut self.nodes.get_mut(&node).ok_or(Errno::NOENT)?.kind {
            Kind::File(content) => Ok(content),
            Kind::Directory(_) => Err(Errno::ISDIR),
        }
    }

    /// The node of a name, which the system remembers from now on.
    pub fn visit(&mut self, parent: u64, name: &str) -> Result<Facts, Errno> {
        let node = *self.directory(parent)?.names.get(name).ok_or(Errno::NOENT)?;
        self.nodes.get_mut(&node).ok_or(Errno::NOENT)?.visitors += 1;
        self.facts(node)
    }

    /// The system has forgotten a node so many times.
    pub fn leave(&mut self, node: u64, times: u64) {
        if let Some(node) = self.nodes.get_mut(&node) {
            node.visitors = node.visitors.saturating_sub(times);
        }
        self.clear(node);
    }

    /// The system has forgotten everything.
    pub fn forget_visitors(&mut self) {
        let nodes: Vec<u64> = self.nodes.keys().copied().collect();
        for node in nodes {
            self.leave(node, u64::MAX);
        }
    }

    /// Forgets a node that nothing names, not even after a loss of power.
    fn clear(&mut self, node: u64) {
        let Some(known) = self.nodes.get(&node) else { return };
        let named = |other: &Node| matches!(&other.kind, Kind::Directory(directory) if directory.knows(node));
        if node == ROOT || known.visitors > 0 || self.nodes.values().any(named) {
            return;
        }
        if let Some(Node { kind: Kind::File(content), .. }) = self.nodes.remove(&node) {
            self.bytes -= content.bytes.len() as u64;
        }
    }

    /// Makes a file or a directory; the system remembers it.
    pub fn make(&mut self, parent: u64, name: &str, is_directory: bool) -> Result<Facts, Errno> {
        let place = self.place(parent).below(name);
        let node = self.next;
        let directory = self.directory(parent)?;
        if directory.names.contains_key(name) {
            return Err(Errno::EXIST);
        }
        directory.set(&[(name, Some(node))]);
        self.next += 1;
        let kind = if is_directory { Kind::Directory(Directory::default()) } else { Kind::File(Content::default()) };
        self.nodes.insert(node, Node { kind, place, visitors: 1 });
        self.facts(node)
    }

    /// Gives a file a second name.
    pub fn link(&mut self, node: u64, parent: u64, name: &str) -> Result<Facts, Errno> {
        self.content(node)?;
        let directory = self.directory(parent)?;
        if directory.names.contains_key(name) {
            return Err(Errno::EXIST);
        }
        directory.set(&[(name, Some(node))]);
        self.nodes.get_mut(&node).ok_or(Errno::NOENT)?.visitors += 1;
        self.facts(node)
    }

    pub fn remove(&mut self, parent: u64, name: &str) -> Result<(), Errno> {
        let node = *self.directory(parent)?.names.get(name).ok_or(Errno::NOENT)?;
        if self.directory(node).is_ok_and(|directory| !directory.names.is_empty()) {
            return Err(Errno::NOTEMPTY);
        }
        self.directory(parent)?.set(&[(name, None)]);
        Ok(())
    }

    /// Within one directory one change; across two it is two.
    pub fn rename(&mut self, parent: u64, name: &str, new_parent: u64, new_name: &str) -> Result<(), Errno> {
        let node = *self.directory(parent)?.names.get(name).ok_or(Errno::NOENT)?;
        if parent == new_parent {
            self.directory(parent)?.set(&[(name, None), (new_name, Some(node))]);
        } else {
            self.directory(new_parent)?.set(&[(new_name, Some(node))]);
            self.directory(parent)?.set(&[(name, None)]);
        }
        Ok(())
    }

    /// Names, nodes, and whether each is a directory.
    pub fn list(&mut self, node: u64) -> Result<Vec<(String, Facts)>, Errno> {
        let names: Vec<(String, u64)> =
            self.directory(node)?.names.iter().map(|(name, node)| (name.clone(), *node)).collect();
        names.into_iter().map(|(name, node)| Ok((name, self.facts(node)?))).collect()
    }

    pub fn read(&mut self, node: u64, at: u64, len: usize) -> Result<&[u8], Errno> {
        let content = self.content(node)?;
        let begin = usize::try_from(at).map_err(|_| Errno::INVAL)?.min(content.bytes.len());
        let end = begin.saturating_add(len).min(content.bytes.len());
        Ok(&content.bytes[begin..end])
    }

    pub fn write(&mut self, node: u64, at: u64, bytes: &[u8]) -> Result<(), Errno> {
        let at = usize::try_from(at).map_err(|_| Errno::INVAL)?;
        let end = at.checked_add(bytes.len()).ok_or(Errno::INVAL)?;
        let all = self.bytes;
        let content = self.content(node)?;
        let more = end.saturating_sub(content.bytes.len()) as u64;
        if all + more > BYTES_MAX {
            return Err(Errno::NOSPC);
        }
        content.write(at, bytes);
        self.bytes += more;
        Ok(())
    }

    pub fn resize(&mut self, node: u64, len: u64) -> Result<(), Errno> {
        let all = self.bytes;
        let content = self.content(node)?;
        let before = content.bytes.len() as u64;
        if all - before + len.min(BYTES_MAX + 1) > BYTES_MAX {
            return Err(Errno::NOSPC);
        }
        content.resize(len as usize);
        self.bytes = all - before + len;
        Ok(())
    }

    /// A file's bytes, or a directory's names, become durable.
    pub fn sync(&mut self, node: u64) -> Result<(), Errno> {
        let gone: Vec<u64> = match &mut self.nodes.get_mut(&node).ok_or(Errno::NOENT)?.kind {
            Kind::File(content) => {
                content.sync();
                Vec::new()
            }
            Kind::Directory(directory) => {
                directory.unsynced.drain(..).flatten().filter_map(|(_, before)| before).collect()
            }
        };
        gone.into_iter().for_each(|node| self.clear(node));
        Ok(())
    }

    /// A sync that failed on the way.
    pub fn sync_fails(&mut self, node: u64) {
        if let Ok(content) = self.content(node) {
            content.sync_fails();
        }
    }

    /// See the module. The system must have forgotten everything.
    pub fn lose_power(&mut self, rng: &mut Rng) {
        for node in self.nodes.values_mut() {
            match &mut node.kind {
                Kind::File(content) => content.lose_power(rng),
                Kind::Directory(directory) => directory.lose_power(rng),
            }
        }
        self.bytes = self.nodes.values().map(bytes_of).sum();
        self.forget_visitors();
    }
}

fn bytes_of(node: &Node) -> u64 {
    match &node.kind {
        Kind::File(content) => content.bytes.len() as u64,
        Kind::Directory(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(files: &mut Files, node: u64) -> Vec<u8> {
        files.read(node, 0, usize::MAX).unwrap().to_vec()
    }

    #[test]
    fn what_was_synced_survives_and_what_was_not_need_not() {
        let mut kept_all = 0;
        for seed in 0..50 {
            let mut files = Files::default();
            let node = files.make(ROOT, "file", false).unwrap().node;
            files.write(node, 0, &[1; 3 * PAGE]).unwrap();
            files.sync(node).unwrap();
            files.sync(ROOT).unwrap();
            files.write(node, 100, &[2; 2 * PAGE]).unwrap();
            files.lose_power(&mut Rng::new(seed));
            let bytes = content(&mut files, node);
            assert_eq!(bytes.len(), 3 * PAGE);
            assert!(bytes[..100].iter().chain(&bytes[100 + 2 * PAGE..]).all(|byte| *byte == 1));
            kept_all += u64::from(bytes[100..100 + 2 * PAGE].iter().all(|byte| *byte == 2));
        }
        assert!(kept_all < 50);
    }

    #[test]
    fn a_failed_sync_is_not_made_up_for_by_a_later_one() {
        let mut files = Files::default();
        let node = files.make(ROOT, "file", false).unwrap().node;
        files.sync(ROOT).unwrap();
        files.write(node, 0, &[1; 4 * PAGE]).unwrap();
        files.sync(node).unwrap();
        files.write(node, 0, &[2; 4 * PAGE]).unwrap();
        files.sync_fails(node);
        files.sync(node).unwrap();
        assert_eq!(content(&mut files, node), [2; 4 * PAGE]);
        files.lose_power(&mut Rng::new(1));
        let bytes = content(&mut files, node);
        assert!(bytes.contains(&1) && bytes.contains(&2));
    }

    #[test]
    fn names_vanish_in_the_order_in_which_they_were_made() {
        for seed in 0..50 {
            let mut files = Files::default();
            files.make(ROOT, "kept", false).unwrap();
            files.sync(ROOT).unwrap();
            let renamed = files.make(ROOT, "new.tmp", false).unwrap().node;
            files.rename(ROOT, "new.tmp", ROOT, "new").unwrap();
            files.remove(ROOT, "kept").unwrap();
            files.lose_power(&mut Rng::new(seed));
            let names: Vec<String> = files.list(ROOT).unwrap().into_iter().map(|(name, _)| name).collect();
            let possible = [vec!["kept"], vec!["kept", "new.tmp"], vec!["kept", "new"], vec!["new"]];
            assert!(possible.iter().any(|possible| *possible == names), "{names:?}");
            assert_eq!(files.facts(renamed).is_ok(), names.iter().any(|name| name.starts_with("new")));
        }
    }

    #[test]
    fn a_full_disk_takes_no_more_and_space_comes_back() {
        let mut files = Files::default();
        let node = files.make(ROOT, "file", false).unwrap().node;
        files.resize(node, BYTES_MAX).unwrap();
        assert_eq!(files.write(node, BYTES_MAX, b"x"), Err(Errno::NOSPC));
        files.leave(node, 1);
        files.remove(ROOT, "file").unwrap();
        files.sync(ROOT).unwrap();
        assert_eq!(files.bytes(), 0);
    }
}
