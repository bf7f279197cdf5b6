//! One file of the faulty disk: what the page cache shows and what the medium holds.

use std::collections::BTreeMap;
use std::io;

/// Size of a page: what a power cut keeps or loses, sector by sector.
pub const PAGE: usize = 4096;
const SECTOR: usize = 512;

/// What the medium holds of a page that the cache shows otherwise; `None` is zeros.
type Old = Option<Box<[u8]>>;

/// A file. `data` is the cache; bytes between its end and `len` are zero.
#[derive(Clone, Default)]
pub(super) struct Inode {
    data: Vec<u8>,
    len: usize,
    durable_len: usize,
    /// Written and not synced.
    dirty: BTreeMap<u32, Old>,
    /// A sync of these failed: the cache calls them clean, the medium never got them.
    lost: BTreeMap<u32, Old>,
}

fn page_of(position: usize) -> u32 {
    u32::try_from(position / PAGE).expect("fake files stay below 16 TiB")
}

fn start_of(page: u32) -> usize {
    usize::try_from(page).expect("fits") * PAGE
}

impl Inode {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn unsynced_pages(&self) -> usize {
        self.dirty.len()
    }

    pub(super) fn read(&self, position: usize, len: usize) -> io::Result<Vec<u8>> {
        let end =
            position.checked_add(len).filter(|end| *end <= self.len).ok_or(io::ErrorKind::UnexpectedEof)?;
        let mut out = Vec::with_capacity(len);
        let held = self.data.len();
        out.extend_from_slice(&self.data[position.min(held)..end.min(held)]);
        out.resize(len, 0);
        Ok(out)
    }

    fn image(&self, page: u32) -> Old {
        let start = start_of(page);
        let bytes = self.data.get(start..)?;
        (!bytes.is_empty()).then(|| bytes[..bytes.len().min(PAGE)].into())
    }

    fn soil(&mut self, from: usize, to: usize) {
        if from >= to {
            return;
        }
        for page in page_of(from)..=page_of(to - 1) {
            if !self.dirty.contains_key(&page) {
                let old = self.lost.remove(&page).unwrap_or_else(|| self.image(page));
                self.dirty.insert(page, old);
            }
        }
    }

    pub(super) fn write(&mut self, position: usize, bytes: &[u8]) {
        let end = position + bytes.len();
        self.soil(position, end);
        self.put(position, bytes);
        self.len = self.len.max(end);
    }

    fn put(&mut self, position: usize, bytes: &[u8]) {
        let end = position + bytes.len();
        if self.data.len() < position {
            self.data.resize(position, 0);
        }
        let overlap = self.data.len().min(end) - position;
        self.data[position..position + overlap].copy_from_slice(&bytes[..overlap]);
        self.data.extend_from_slice(&bytes[overlap..]);
    }

    pub(super) fn set_len(&mut self, len: usize) {
        if len < self.data.len() {
            self.soil(len, self.data.len());
            self.data.truncate(len);
        }
        self.len = len;
    }

    pub(super) fn sync(&mut self) {
        self.dirty.clear();
        self.durable_len = self.len;
    }

    /// The sync reports an error once; the cache forgets that the pages were dirty.
    pub(super) fn fail_sync(&mut self) {
        let dirty = std::mem::take(&mut self.dirty);
        self.lost.extend(dirty);
    }

    /// Changes a bit in the cache and on the medium.
    pub(super) fn flip(&mut self, position: usize, bit: u8) -> bool {
        let flipped = self.data.get_mut(position).map(|byte| *byte ^= 1 << (bit & 7)).is_some();
        let page = page_of(position);
        for old in [self.dirty.get_mut(&page), self.lost.get_mut(&page)].into_iter().flatten().flatten() {
            if let Some(byte) = old.get_mut(position % PAGE) {
                *byte ^= 1 << (bit & 7);
            }
        }
        flipped
    }

    /// Loses all unsynced sectors but those `keep` names by the bits of its answer, lowest first.
    pub(super) fn cut(&mut self, keep: &mut dyn FnMut(Option<u32>) -> u8) {
        let shrunk = self.len < self.durable_len;
        let mut len = if shrunk && keep(None) != 0 { self.len } else { self.durable_len };
        for (page, old) in std::mem::take(&mut self.dirty) {
            let mask = keep(Some(page));
            if mask != 0xff {
                self.restore(page, old.as_deref().unwrap_or(&[]), mask);
            }
            if mask != 0 && !shrunk {
                len = len.max((start_of(page) + PAGE).min(self.len));
            }
        }
        for (page, old) in std::mem::take(&mut self.lost) {
            self.restore(page, old.as_deref().unwrap_or(&[]), 0);
        }
        self.data.truncate(len);
        self.len = len;
        self.durable_len = len;
    }

    fn restore(&mut self, page: u32, old: &[u8], keep: u8) {
        let mut content = vec![0; PAGE];
        content[..old.len()].copy_from_slice(old);
        if let Some(now) = self.image(page) {
            for sector in (0..8).filter(|sector| keep >> sector & 1 == 1) {
                let range = sector * SECTOR..((sector + 1) * SECTOR).min(now.len());
                if range.start < range.end {
                    content[range.clone()].copy_from_slice(&now[range]);
                }
            }
        }
        self.put(start_of(page), &content);
    }
}
