//! Input in blocks from a thread that may wait for it, and lines cut out of the blocks.

use super::cannot;
use crate::clock;
use crate::error::CliError;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::mpsc::{Receiver, sync_channel};

/// Bytes read at once; four such blocks may wait.
const BLOCK_BYTES: usize = 256 << 10;

/// Where the lines come from.
pub(super) struct Source {
    /// Its name in messages.
    pub(super) name: String,
    /// Its length in bytes, where known.
    pub(super) bytes: Option<u64>,
    reader: Box<dyn Read + Send>,
}

impl Source {
    /// Opens a file, or standard input for none or for `-`.
    pub(super) fn open(path: Option<&Path>) -> Result<Source, CliError> {
        match path {
            Some(path) if path != Path::new("-") => {
                let file = File::open(path).map_err(|error| cannot("read", path, &error))?;
                let metadata = file.metadata().map_err(|error| cannot("read", path, &error))?;
                if metadata.is_dir() {
                    return Err(CliError::Usage(format!("{} is a directory; name a file", path.display())));
                }
                let bytes = metadata.is_file().then_some(metadata.len());
                Ok(Source { name: path.display().to_string(), bytes, reader: Box::new(file) })
            }
            _ => Ok(Source { name: "standard input".to_owned(), bytes: None, reader: Box::new(io::stdin()) }),
        }
    }

    /// Starts to read. The channel closes at the end of the input, after at most one error. The thread is not joined: it
    /// may wait for a terminal for ever, and ends with the process or when the receiver is gone.
    pub(super) fn read(mut self) -> Receiver<io::Result<Vec<u8>>> {
        let (blocks, receiver) = sync_channel(4);
        clock::spawn(move || {
            let mut buffer = vec![0; BLOCK_BYTES];
            loop {
                let block = match self.reader.read(&mut buffer) {
                    Ok(0) => return,
                    Ok(length) => Ok(buffer[..length].to_vec()),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => Err(error),
                };
                let failed = block.is_err();
                if blocks.send(block).is_err() || failed {
                    return;
                }
            }
        });
        receiver
    }
}

/// Cuts blocks into lines. A line ends with `\n`, which is not part of it; a carriage return is. What follows the last
/// `\n` is a line too, unless it is empty.
pub(super) struct Lines {
    begun: Vec<u8>,
    line_bytes_max: usize,
}

impl Lines {
    pub(super) fn new(line_bytes_max: usize) -> Lines {
        Lines { begun: Vec::new(), line_bytes_max }
    }

    /// Gives each line that `block` completes to `each`.
    ///
    /// # Errors
    ///
    /// A line longer than the bound; those before it were given out.
    pub(super) fn feed(&mut self, block: &[u8], mut each: impl FnMut(&[u8])) -> Result<(), String> {
        let mut rest = block;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            self.check(end)?;
            if self.begun.is_empty() {
                each(&rest[..end]);
            } else {
                self.begun.extend_from_slice(&rest[..end]);
                each(&self.begun);
                self.begun.clear();
            }
            rest = &rest[end + 1..];
        }
        self.check(rest.len())?;
        self.begun.extend_from_slice(rest);
        Ok(())
    }

    /// The input has ended.
    pub(super) fn finish(self, each: impl FnOnce(&[u8])) {
        if !self.begun.is_empty() {
            each(&self.begun);
        }
    }

    fn check(&self, more: usize) -> Result<(), String> {
        if self.begun.len() + more > self.line_bytes_max {
            return Err(format!("longer than {} bytes; a line becomes one record", self.line_bytes_max));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Lines;

    fn lines(text: &[u8], block: usize) -> Vec<String> {
        let mut lines = Lines::new(1000);
        let mut all = Vec::new();
        for block in text.chunks(block) {
            lines.feed(block, |line| all.push(String::from_utf8(line.to_vec()).unwrap())).unwrap();
        }
        lines.finish(|line| all.push(String::from_utf8(line.to_vec()).unwrap()));
        all
    }

    #[test]
    fn blocks_of_any_size_give_the_same_lines() {
        let text = b"one\n\ntwo and more\r\nthree\nlast";
        for block in 1..=text.len() {
            assert_eq!(
                lines(text, block),
                ["one", "", "two and more\r", "three", "last"],
                "blocks of {block}"
            );
        }
    }

    #[test]
    fn a_final_line_end_adds_no_line() {
        assert_eq!(lines(b"a\n", 10), ["a"]);
        assert_eq!(lines(b"\n", 10), [""]);
        assert!(lines(b"", 10).is_empty());
    }

    #[test]
    fn a_line_over_the_bound_is_refused_even_without_an_end() {
        let mut lines = Lines::new(4);
        let mut count = 0;
        lines.feed(b"1234\n12", |_| count += 1).unwrap();
        assert!(lines.feed(b"345", |_| count += 1).is_err());
        assert_eq!(count, 1);
    }
}
