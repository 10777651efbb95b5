//! Files written whole or not at all. Knows no formats.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Error, ErrorKind, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// Writes a file beside its place and renames it, so that a reader, or a crash, never sees half of it: there is the
/// old content or the new one. A link is followed; what is no regular file is refused, since renaming would replace
/// it (`/dev/stdout`, say).
///
/// What a machine without power finds afterwards is up to the file system: for what cannot be made again there is
/// [`write_durably`].
pub(crate) fn write_by_rename(file: &Path, data: &[u8]) -> io::Result<()> {
    write(file, data, |_| Ok(()))
}

/// As [`write_by_rename`]; the data is on the disk before the old content goes.
pub(crate) fn write_durably(file: &Path, data: &[u8]) -> io::Result<()> {
    write(file, data, File::sync_all)
}

fn write(file: &Path, data: &[u8], sync: fn(&File) -> io::Result<()>) -> io::Result<()> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let file = match file.canonicalize() {
        Ok(place) if place.is_file() => place,
        Ok(_) => {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "there is something that is no regular file",
            ));
        }
        // It is not there yet.
        Err(_) => file.to_path_buf(),
    };
    // Of its own for each write: threads and processes may write the same file.
    let mut name = OsString::from(".");
    name.push(file.file_name().ok_or(ErrorKind::InvalidInput)?);
    name.push(format!(
        ".{}-{}.tmp",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    ));
    let temporary = file.with_file_name(name);
    let fill = || {
        let mut file = File::create(&temporary)?;
        file.write_all(data)?;
        sync(&file)
    };
    let written = fill().and_then(|()| std::fs::rename(&temporary, &file));
    if written.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_written_leaves_the_old_file_and_nothing_else() {
        let folder = std::env::temp_dir().join(format!("affekt-disk-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("folder")).unwrap();
        let file = folder.join("a");
        write_by_rename(&file, b"one").unwrap();
        write_durably(&file, b"two").unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"two");
        assert!(write_by_rename(&folder.join("absent/a"), b"").is_err());
        assert!(write_by_rename(&folder.join("folder"), b"").is_err());
        // As root or not, nothing can be written below a file.
        assert!(write_by_rename(&file.join("b"), b"").is_err());
        let mut left: Vec<_> = std::fs::read_dir(&folder)
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        left.sort();
        assert_eq!(left, ["a", "folder"]);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn a_link_stays_one_and_a_device_is_not_replaced() {
        let folder = std::env::temp_dir().join(format!("affekt-link-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (file, link, device) = (folder.join("a"), folder.join("b"), folder.join("c"));
        std::fs::write(&file, b"old").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        std::os::unix::fs::symlink("/dev/null", &device).unwrap();
        write_by_rename(&link, b"new").unwrap();
        assert!(link.is_symlink());
        assert_eq!(std::fs::read(&file).unwrap(), b"new");
        assert!(write_by_rename(&device, b"new").is_err());
        assert!(device.is_symlink());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
