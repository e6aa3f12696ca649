// SPDX-License-Identifier: Apache-2.0
//! What the guest is made of: Debian's kernel for clouds, an initial file system of ours with the broker in it, an empty ext4.
//!
//! Owns: getting the packages (installed where a program is needed; the kernel's is unpacked only, so that no boot loader
//! hears of it), the archive that the kernel starts from. Must not know: what is done with the guest.

use crate::process;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Programs and the packages that bring them.
const PROGRAMS: [(&str, &str); 3] =
    [("qemu-system-x86_64", "qemu-system-x86"), ("busybox", "busybox-static"), ("mkfs.ext4", "e2fsprogs")];
const KERNEL_PACKAGE: &str = "linux-image-cloud-amd64";
/// In the order in which they need each other.
const MODULES: [&str; 9] = [
    "drivers/virtio/virtio_ring.ko",
    "drivers/virtio/virtio.ko",
    "drivers/virtio/virtio_pci_modern_dev.ko",
    "drivers/virtio/virtio_pci_legacy_dev.ko",
    "drivers/virtio/virtio_pci.ko",
    "drivers/block/virtio_blk.ko",
    "net/core/failover.ko",
    "drivers/net/net_failover.ko",
    "drivers/net/virtio_net.ko",
];
/// The first program of the guest. The second serial line takes orders and tells what happened.
const INIT: &str = include_str!("init.sh");

/// Kernel and modules, unpacked.
pub struct Kernel {
    pub image: PathBuf,
    modules: PathBuf,
}

/// Gets what is missing. `Err`: why the machine cannot do it.
pub fn provide(folder: &Path) -> Result<Kernel, String> {
    if !cfg!(target_arch = "x86_64") {
        return Err("the guest is made for x86-64".to_owned());
    }
    let missing: Vec<&str> =
        PROGRAMS.iter().filter(|(program, _)| find(program).is_none()).map(|(_, package)| *package).collect();
    if find("apt-get").is_none() || find("setpriv").is_none() {
        return Err("its packages are Debian's and there is no apt-get, or no setpriv".to_owned());
    }
    if !missing.is_empty() {
        if !rustix::process::geteuid().is_root() {
            return Err(format!("{} would have to be installed, and this is not root", missing.join(", ")));
        }
        println!("installing {}", missing.join(" "));
        quiet(Command::new("apt-get").args(["update", "-qq"]))?;
        let install = ["install", "-y", "-qq", "--no-install-recommends"];
        quiet(Command::new("apt-get").args(install).args(&missing).env("DEBIAN_FRONTEND", "noninteractive"))?;
    }
    match unpacked(folder) {
        Some(kernel) => Ok(kernel),
        None => {
            unpack(folder)?;
            unpacked(folder).ok_or_else(|| format!("{KERNEL_PACKAGE} holds no kernel"))
        }
    }
}

/// Also where people who are not root do not look.
fn find(program: &str) -> Option<PathBuf> {
    let sbin = Path::new("/usr/sbin").join(program);
    process::find_program(program).or_else(|| sbin.is_file().then_some(sbin))
}

fn unpacked(folder: &Path) -> Option<Kernel> {
    let names = fs::read_dir(folder.join("unpacked/boot")).ok()?;
    let names = names.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter_map(|name| Some(name.strip_prefix("vmlinuz-")?.to_owned())).find_map(|version| {
        let image = folder.join("unpacked/boot").join(format!("vmlinuz-{version}"));
        let modules = folder.join("unpacked/lib/modules").join(version).join("kernel");
        MODULES.iter().all(|module| modules.join(module).is_file()).then_some(Kernel { image, modules })
    })
}

fn unpack(folder: &Path) -> Result<(), String> {
    fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    // The package of that name is empty and depends on the one with the kernel.
    let depends = quiet(Command::new("apt-cache").args(["depends", KERNEL_PACKAGE]))?;
    let package = depends
        .split_whitespace()
        .find(|word| word.starts_with("linux-image-"))
        .filter(|word| *word != KERNEL_PACKAGE)
        .or_else(|| depends.split_whitespace().filter(|word| word.starts_with("linux-image-")).nth(1))
        .ok_or_else(|| format!("apt-cache does not know {KERNEL_PACKAGE}"))?;
    quiet(Command::new("apt-get").args(["download", "-qq", package]).current_dir(folder))?;
    let archive = fs::read_dir(folder)
        .map_err(|error| error.to_string())?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .ok_or_else(|| format!("{package} was not downloaded"))?;
    quiet(Command::new("dpkg-deb").arg("-x").arg(&archive).arg(folder.join("unpacked")))?;
    fs::remove_file(archive).map_err(|error| error.to_string())
}

/// Writes the archive that the kernel starts from: busybox, the modules, the broker and the libraries that it is linked with.
pub fn write_initial(kernel: &Kernel, broker: &Path, to: &Path) -> Result<(), String> {
    let mut archive = Archive::default();
    for folder in ["bin", "dev", "proc", "data", "modules"] {
        archive.add(folder, 0o040_755, &[]);
    }
    let read = |path: &Path| fs::read(path).map_err(|error| format!("{}: {error}", path.display()));
    archive.add("init", 0o100_755, INIT.as_bytes());
    let busybox = find("busybox").ok_or("busybox is not there")?;
    archive.add("bin/busybox", 0o100_755, &read(&busybox)?);
    for (index, module) in MODULES.iter().enumerate() {
        // Names that sort in the order of loading.
        archive.add(&format!("modules/{index}.ko"), 0o100_644, &read(&kernel.modules.join(module))?);
    }
    archive.add("bin/polylog", 0o100_755, &read(broker)?);
    let mut folders = vec!["bin".to_owned()];
    for library in quiet(Command::new("ldd").arg(broker))?.split_whitespace().filter(|word| word.starts_with('/')) {
        let name = library.trim_start_matches('/');
        for (at, _) in name.match_indices('/') {
            if !folders.iter().any(|folder| folder == &name[..at]) {
                archive.add(&name[..at], 0o040_755, &[]);
                folders.push(name[..at].to_owned());
            }
        }
        archive.add(name, 0o100_755, &read(Path::new(library))?);
    }
    fs::write(to, archive.end()).map_err(|error| format!("{}: {error}", to.display()))
}

/// Makes an empty file system of that size in a file with holes.
pub fn write_disk(to: &Path, bytes: u64) -> Result<(), String> {
    let file = File::create(to).map_err(|error| format!("{}: {error}", to.display()))?;
    file.set_len(bytes).map_err(|error| error.to_string())?;
    let program = find("mkfs.ext4").ok_or("mkfs.ext4 is not there")?;
    quiet(Command::new(program).args(["-q", "-F"]).arg(to)).map(drop)
}

/// Runs a short program to its end. Its standard output, or what it said was wrong.
fn quiet(command: &mut Command) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{name}: {error}"))?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(format!("{name} failed: {why}"));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A `newc` archive of cpio: a header of hexadecimal fields, the name, the content, each padded to four bytes.
#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    files: u32,
}

impl Archive {
    fn add(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.files += 1;
        let (len, name_len) = (content.len() as u32, name.len() as u32 + 1);
        // Inode, mode, user, group, links, time, size, device (2), special device (2), length of the name, check.
        let fields = [self.files, mode, 0, 0, 1, 0, len, 0, 0, 0, 0, name_len, 0];
        self.bytes.extend(b"070701");
        for field in fields {
            self.bytes.extend(format!("{field:08x}").bytes());
        }
        self.bytes.extend(name.bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn end(mut self) -> Vec<u8> {
        self.add("TRAILER!!!", 0, &[]);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_headers_names_and_contents_in_fours() {
        let mut archive = Archive::default();
        archive.add("a", 0o100_644, b"xyz");
        let bytes = archive.end();
        assert!(bytes.starts_with(b"07070100000001000081a4"));
        assert_eq!(&bytes[110..116], b"a\0xyz\0");
        assert_eq!(bytes.len() % 4, 0);
    }
}
