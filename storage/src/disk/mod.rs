//! The disk as storage sees it: flat directories of files that are written, synced and lost.

use std::io;

use bytes::Bytes;

pub mod file;

/// A data directory. Cheap to clone; all clones are the same directory.
pub trait Disk: Clone + Send + Sync + 'static {
    /// An open file.
    type File: DiskFile;
    /// Held while the directory is in use; dropping it releases the lock.
    type Lock: Send + Sync + 'static;

    /// Takes the exclusive lock of the directory, `None` if it is held elsewhere.
    ///
    /// # Errors
    /// When the disk fails.
    fn lock(&self) -> io::Result<Option<Self::Lock>>;
    /// Names of all files.
    ///
    /// # Errors
    /// When the disk fails.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Creates a file of `bytes` zero bytes with its space reserved; an existing one is emptied first.
    ///
    /// # Errors
    /// `StorageFull` when there is no room, or when the disk fails.
    fn create(&self, name: &str, bytes: u64) -> io::Result<Self::File>;
    /// Opens an existing file for reading and writing.
    ///
    /// # Errors
    /// `NotFound`, or when the disk fails.
    fn open(&self, name: &str) -> io::Result<Self::File>;
    /// Removes a file; open handles keep reading. Durable after [`Disk::sync_directory`].
    ///
    /// # Errors
    /// When the disk fails.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Renames a file over another one, atomically. Durable after [`Disk::sync_directory`].
    ///
    /// # Errors
    /// When the disk fails.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Makes creations, removals and renames durable.
    ///
    /// # Errors
    /// When the disk fails.
    fn sync_directory(&self) -> io::Result<()>;
    /// Bytes that can still be reserved.
    ///
    /// # Errors
    /// When the disk fails.
    fn free_bytes(&self) -> io::Result<u64>;
}

/// An open file. Cheap to clone.
#[expect(clippy::len_without_is_empty, reason = "nobody asks a file whether it is empty")]
pub trait DiskFile: Clone + Send + Sync + 'static {
    /// Reads exactly `len` bytes; beyond the end is an error.
    ///
    /// # Errors
    /// `UnexpectedEof`, or when the disk fails.
    fn read_at(&self, position: u64, len: usize) -> io::Result<Bytes>;
    /// The same, from the medium: what the system keeps of these bytes in memory is given up before and after, where it can be.
    ///
    /// # Errors
    /// `UnexpectedEof`, or when the disk fails.
    fn read_medium_at(&self, position: u64, len: usize) -> io::Result<Bytes> {
        self.read_at(position, len)
    }
    /// Writes all bytes, growing the file as needed. Durable after [`DiskFile::sync`].
    ///
    /// # Errors
    /// `StorageFull`, or when the disk fails.
    fn write_at(&self, position: u64, bytes: &[u8]) -> io::Result<()>;
    /// Makes content and length durable. After an error nothing is known of what was written.
    ///
    /// # Errors
    /// When the disk fails.
    fn sync(&self) -> io::Result<()>;
    /// Length in bytes.
    ///
    /// # Errors
    /// When the disk fails.
    fn len(&self) -> io::Result<u64>;
    /// Cuts or extends the file.
    ///
    /// # Errors
    /// When the disk fails.
    fn set_len(&self, len: u64) -> io::Result<()>;
}

/// Reads a small file as a whole, `None` if there is none.
///
/// # Errors
/// When the disk fails.
pub fn read_small<D: Disk>(disk: &D, name: &str) -> io::Result<Option<Bytes>> {
    match disk.open(name) {
        Ok(file) => {
            let len = usize::try_from(file.len()?).map_err(|_| io::ErrorKind::InvalidData)?;
            file.read_at(0, len).map(Some)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Replaces a small file as a whole: after a crash it holds the old bytes or the new. Durable on return.
///
/// # Errors
/// When the disk fails.
pub fn replace_small<D: Disk>(disk: &D, name: &str, bytes: &[u8]) -> io::Result<()> {
    let temporary = format!("{name}.new");
    let file = disk.create(&temporary, 0)?;
    file.write_at(0, bytes)?;
    file.sync()?;
    disk.rename(&temporary, name)?;
    disk.sync_directory()
}
