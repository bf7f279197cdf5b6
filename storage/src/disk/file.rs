//! Real files.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::{Disk, DiskFile};

/// A directory of the operating system's file system.
#[derive(Clone, Debug)]
pub struct FileDisk {
    root: Arc<PathBuf>,
    read_bytes: Arc<AtomicU64>,
}

/// A file of a [`FileDisk`].
#[derive(Clone, Debug)]
pub struct OsFile {
    file: Arc<File>,
    read_bytes: Arc<AtomicU64>,
}

impl FileDisk {
    /// Opens a directory, creating it and its parents as needed.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn new(root: &Path) -> io::Result<Self> {
        let created = !root.exists();
        fs::create_dir_all(root)?;
        if created && let Some(parent) = root.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            File::open(parent)?.sync_all()?;
        }
        Ok(Self { root: Arc::new(root.to_owned()), read_bytes: Arc::default() })
    }

    /// The directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Bytes asked for by reads so far, over all clones.
    #[must_use]
    pub fn read_bytes(&self) -> u64 {
        self.read_bytes.load(Ordering::Relaxed)
    }

    fn file(&self, file: File) -> OsFile {
        OsFile { file: Arc::new(file), read_bytes: self.read_bytes.clone() }
    }
}

impl Disk for FileDisk {
    type File = OsFile;
    type Lock = File;

    fn lock(&self) -> io::Result<Option<File>> {
        let file =
            OpenOptions::new().create(true).truncate(false).write(true).open(self.root.join("lock"))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.root.as_path())? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                names.extend(entry.file_name().into_string());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn create(&self, name: &str, bytes: u64) -> io::Result<OsFile> {
        let path = self.root.join(name);
        let file = OpenOptions::new().create(true).truncate(true).read(true).write(true).open(path)?;
        if bytes > 0 {
            match rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes) {
                Err(rustix::io::Errno::OPNOTSUPP) => file.set_len(bytes)?,
                other => other?,
            }
        }
        Ok(self.file(file))
    }

    fn open(&self, name: &str) -> io::Result<OsFile> {
        let path = self.root.join(name);
        let opened = OpenOptions::new().read(true).write(true).open(&path);
        // A look at a disk that the system takes no writes for any more must be possible.
        let opened = match opened {
            Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => File::open(&path),
            opened => opened,
        };
        opened.map(|file| self.file(file))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.root.join(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.root.join(from), self.root.join(to))
    }

    fn sync_directory(&self) -> io::Result<()> {
        File::open(self.root.as_path())?.sync_all()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let space = rustix::fs::statvfs(self.root.as_path())?;
        Ok(space.f_bavail.saturating_mul(space.f_frsize))
    }
}

impl OsFile {
    /// Asks the system to keep nothing of these bytes in memory. Only whole pages that are written back go, and some file systems have
    /// no such thing: then a read is answered from memory, as any other.
    fn forget(&self, position: u64, len: usize) {
        if let Some(len) = NonZeroU64::new(len as u64) {
            let _kept = rustix::fs::fadvise(&self.file, position, Some(len), rustix::fs::Advice::DontNeed);
        }
    }
}

impl DiskFile for OsFile {
    fn read_at(&self, position: u64, len: usize) -> io::Result<Bytes> {
        self.read_bytes.fetch_add(len as u64, Ordering::Relaxed);
        let mut buffer = Vec::with_capacity(len);
        while buffer.len() < len {
            let at = position.saturating_add(buffer.len() as u64);
            // Into the spare capacity: nothing is zeroed first.
            match rustix::io::pread(&self.file, rustix::buffer::spare_capacity(&mut buffer), at) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        buffer.truncate(len);
        Ok(buffer.into())
    }

    fn read_medium_at(&self, position: u64, len: usize) -> io::Result<Bytes> {
        self.forget(position, len);
        let read = self.read_at(position, len);
        self.forget(position, len);
        read
    }

    fn write_at(&self, position: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, position)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        self.file.metadata().map(|metadata| metadata.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_locked_once() {
        let root = tempfile::tempdir().expect("a directory");
        let disk = FileDisk::new(root.path()).expect("opens");
        let held = disk.lock().expect("no fault");
        assert!(held.is_some());
        assert!(FileDisk::new(root.path()).expect("opens").lock().expect("no fault").is_none());
        drop(held);
        assert!(disk.lock().expect("no fault").is_some());
    }

    #[test]
    fn small_files_are_replaced_whole() {
        let root = tempfile::tempdir().expect("a directory");
        let disk = FileDisk::new(&root.path().join("a/b")).expect("opens");
        assert_eq!(super::super::read_small(&disk, "x").expect("no fault"), None);
        super::super::replace_small(&disk, "x", b"one").expect("no fault");
        super::super::replace_small(&disk, "x", b"two!").expect("no fault");
        assert_eq!(super::super::read_small(&disk, "x").expect("no fault").as_deref(), Some(&b"two!"[..]));
        assert_eq!(disk.list().expect("no fault"), ["x"]);
        assert!(disk.free_bytes().expect("no fault") > 0);
    }
}
