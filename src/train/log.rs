//! Metrics as JSON lines: one object per line, whole lines whatever happens, a length that a checkpoint can remember.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::error::{Error, Result};

/// A file of JSON lines that only grows.
///
/// A line goes out in one write, so a process that is killed leaves whole lines; after a failed write (a full disk) the
/// file is cut back to its last whole line.
#[derive(Debug)]
pub struct MetricsLog {
    file: File,
    path: PathBuf,
    bytes: u64,
}

impl MetricsLog {
    /// Starts an empty file; what was there is gone.
    ///
    /// Errors: [`Error::Io`] if it cannot be created.
    pub fn create(path: impl AsRef<Path>) -> Result<MetricsLog> {
        let path = path.as_ref();
        let io = |e| Error::io(path, &e);
        File::create(path).map_err(io)?;
        let file = OpenOptions::new().append(true).open(path).map_err(io)?;
        Ok(MetricsLog {
            file,
            path: path.to_path_buf(),
            bytes: 0,
        })
    }

    /// Goes on behind the first `bytes` bytes of a file, as [`bytes`](Self::bytes) told them when a checkpoint was
    /// written; what was logged after it is cut off. 0 bytes of a file that is not there start a new one.
    ///
    /// Errors: [`Error::Io`] if it cannot be opened; [`Error::Format`], leaving it as it is, if the file is shorter or
    /// does not end a line there.
    pub fn resume(path: impl AsRef<Path>, bytes: u64) -> Result<MetricsLog> {
        let path = path.as_ref();
        if bytes == 0 {
            return MetricsLog::create(path);
        }
        let io = |e| Error::io(path, &e);
        let wrong = |message: String| Error::format(path, message);
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .open(path)
            .map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        if length < bytes {
            return Err(wrong(format!(
                "{length} bytes, but the checkpoint was written after {bytes}"
            )));
        }
        let mut last = [0];
        file.seek(SeekFrom::Start(bytes - 1)).map_err(io)?;
        file.read_exact(&mut last).map_err(io)?;
        if last != *b"\n" {
            return Err(wrong(format!("byte {bytes} does not end a line")));
        }
        file.set_len(bytes).map_err(io)?;
        Ok(MetricsLog {
            file,
            path: path.to_path_buf(),
            bytes,
        })
    }

    /// Appends one line. Numbers that are not finite become `null`, since JSON has none.
    ///
    /// Errors: [`Error::Io`] if it cannot be written; the file then still ends in a whole line, if the disk allows.
    pub fn write(&mut self, value: &Value) -> Result<()> {
        let mut line = value.to_string();
        line.push('\n');
        if let Err(error) = self.file.write_all(line.as_bytes()) {
            let _ = self.file.set_len(self.bytes);
            return Err(Error::io(&self.path, &error));
        }
        self.bytes += line.len() as u64;
        Ok(())
    }

    /// Length of the file: what a checkpoint remembers.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Waits until what was written is on the disk; a checkpoint that remembers the length does this first.
    ///
    /// Errors: [`Error::Io`].
    pub fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(|e| Error::io(&self.path, &e))
    }

    /// The lines of a file. A last line without an end, left by a full disk, is not one.
    ///
    /// Errors: [`Error::Io`] if it cannot be read; [`Error::Format`] with its number for a line that is no JSON.
    pub fn read(path: impl AsRef<Path>) -> Result<Vec<Value>> {
        let path = path.as_ref();
        let text = std::fs::read(path).map_err(|e| Error::io(path, &e))?;
        let whole = text.iter().rposition(|b| *b == b'\n').unwrap_or(0);
        text[..whole]
            .split(|b| *b == b'\n')
            .enumerate()
            .filter(|(_, line)| !line.is_empty())
            .map(|(i, line)| {
                serde_json::from_slice(line)
                    .map_err(|e| Error::format(path, format!("line {}: {e}", i + 1)))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn scratch(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("affekt-log-{name}-{}", std::process::id()))
    }

    #[test]
    fn what_came_after_the_checkpoint_is_cut_off() {
        let path = scratch("resume");
        let mut log = MetricsLog::create(&path).unwrap();
        log.write(&json!({"epoch": 0, "loss": 1.25})).unwrap();
        let bytes = log.bytes();
        assert_eq!(bytes, 24);
        log.write(&json!({"epoch": 1, "loss": f64::NAN})).unwrap();
        log.sync().unwrap();
        drop(log);
        std::fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .unwrap()
            .write_all(b"{\"epoch\": 2, \"lo")
            .unwrap();
        let lines = MetricsLog::read(&path).unwrap();
        assert_eq!(
            lines,
            [
                json!({"epoch": 0, "loss": 1.25}),
                json!({"epoch": 1, "loss": null})
            ]
        );
        let mut log = MetricsLog::resume(&path, bytes).unwrap();
        log.write(&json!({"epoch": 1, "loss": 1})).unwrap();
        assert_eq!(log.bytes(), std::fs::metadata(&path).unwrap().len());
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(
            text,
            "{\"epoch\":0,\"loss\":1.25}\n{\"epoch\":1,\"loss\":1}\n"
        );
        for (bytes, expected) in [(1000, "45 bytes"), (23, "byte 23 does not end a line")] {
            let error = MetricsLog::resume(&path, bytes).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        assert_eq!(MetricsLog::resume(&path, 0).unwrap().bytes(), 0);
        assert_eq!(MetricsLog::read(&path).unwrap(), Vec::<Value>::new());
        std::fs::write(&path, "{}\nx\n").unwrap();
        let error = MetricsLog::read(&path).unwrap_err().to_string();
        assert!(error.contains("line 2"), "{error}");
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(
            MetricsLog::resume(&path, 5),
            Err(Error::Io { .. })
        ));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_an_error() {
        let mut log = MetricsLog {
            file: OpenOptions::new().append(true).open("/dev/full").unwrap(),
            path: "/dev/full".into(),
            bytes: 0,
        };
        assert!(matches!(log.write(&json!({})), Err(Error::Io { .. })));
        assert_eq!(log.bytes(), 0);
    }
}
