//! A corpus as a CSV file: `path,label,subject` and, if there are any, `group` and `split`.
//!
//! RFC 4180: fields in double quotes may hold commas, line ends and doubled quotes. Lines end in LF or CRLF; blank ones
//! are skipped. Columns are found by the names of the header, in any order; others are let alone. Paths are relative to
//! the folder of the CSV file.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::data::corpus::{Corpus, Item};
use crate::error::{Error, Result};

const COLUMNS: [&str; 3] = ["path", "label", "subject"];

/// A record and the line it begins at, from 1.
type Record = (usize, Vec<String>);

/// Whether the first line of a CSV file names the columns of a manifest.
pub(crate) fn is_manifest(file: &Path) -> bool {
    use std::io::Read as _;
    let mut head = Vec::new();
    let read = std::fs::File::open(file).and_then(|f| f.take(4096).read_to_end(&mut head));
    let line = head.split(|b| *b == b'\n').next().unwrap_or(&[]);
    let Ok(records) = records(&String::from_utf8_lossy(line)) else {
        return false;
    };
    let header = records.first().map(|(_, r)| header(r)).unwrap_or_default();
    read.is_ok() && COLUMNS.iter().all(|c| header.iter().any(|h| h == c))
}

/// Reads a manifest. Classes are the labels in alphabetical order; items are sorted by path.
///
/// Errors: [`Error::Io`] if it cannot be read; [`Error::Format`] with the line for a missing column, a row of the wrong
/// length, an empty field, a file that is not there or listed twice, or no row at all.
pub(crate) fn read(file: &Path) -> Result<Corpus> {
    let bytes = std::fs::read(file).map_err(|e| Error::io(file, &e))?;
    let wrong = |message: String| Error::format(file, message);
    let text = String::from_utf8(bytes).map_err(|_| wrong("no UTF-8 text".into()))?;
    let records = records(&text).map_err(wrong)?;
    let Some(((_, first), rows)) = records.split_first() else {
        return Err(wrong("empty file".into()));
    };
    let header = header(first);
    let column = |name: &str| header.iter().position(|h| h == name);
    let mut needed = [0; 3];
    for (at, name) in needed.iter_mut().zip(COLUMNS) {
        *at = column(name).ok_or_else(|| {
            wrong(format!(
                "no column {name:?}: the header is {:?}, expected path,label,subject",
                header.join(",")
            ))
        })?;
    }
    if rows.is_empty() {
        return Err(wrong("no row follows the header".into()));
    }
    let folder = file.parent().unwrap_or(Path::new(""));
    let mut seen = BTreeSet::new();
    let mut labels = BTreeSet::new();
    let mut read: Vec<(PathBuf, &str, &[String])> = Vec::new();
    for (line, row) in rows {
        if row.len() != header.len() {
            return Err(wrong(format!(
                "line {line}: {} fields, expected {}",
                row.len(),
                header.len()
            )));
        }
        if let Some((&at, name)) = needed
            .iter()
            .zip(COLUMNS)
            .find(|(at, _)| row[**at].is_empty())
        {
            return Err(wrong(format!(
                "line {line}: field {} ({name}) is empty",
                at + 1
            )));
        }
        let path = folder.join(&row[needed[0]]);
        if !path.is_file() {
            return Err(wrong(format!(
                "line {line}: there is no file {}",
                path.display()
            )));
        }
        // By whatever way: one recording on both sides of a split would be a test of memory.
        let place = path.canonicalize().map_err(|e| Error::io(&path, &e))?;
        if !seen.insert(place) {
            return Err(wrong(format!(
                "line {line}: {} is listed twice",
                path.display()
            )));
        }
        labels.insert(row[needed[1]].as_str());
        read.push((path, &row[needed[1]], row));
    }
    let optional = |row: &[String], name: &str| {
        let text = &row[column(name)?];
        (!text.is_empty()).then(|| text.clone())
    };
    let mut items: Vec<Item> = read
        .into_iter()
        .map(|(file, label, row)| Item {
            file,
            label: labels.iter().take_while(|l| **l != label).count(),
            subject: row[needed[2]].clone(),
            group: optional(row, "group"),
            split: optional(row, "split"),
        })
        .collect();
    items.sort_by(|a, b| a.file.cmp(&b.file));
    let name = match folder.file_name() {
        Some(name) => name.to_string_lossy().into_owned(),
        None => "manifest".into(),
    };
    Ok(Corpus {
        name,
        root: file.to_path_buf(),
        classes: labels.into_iter().map(String::from).collect(),
        items,
        unknown: Vec::new(),
    })
}

fn header(record: &[String]) -> Vec<String> {
    record.iter().map(|h| h.trim().to_lowercase()).collect()
}

fn records(text: &str) -> Result<Vec<Record>, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut records = Vec::new();
    let mut record: Vec<String> = Vec::new();
    let mut field = String::new();
    let mut quoted = false;
    let (mut line, mut begin) = (1, 1);
    let mut chars = text.chars().peekable();
    let mut end_record = |record: &mut Vec<String>, field: &mut String, quoted: bool, at: usize| {
        let blank = record.is_empty() && field.trim().is_empty() && !quoted;
        record.push(std::mem::take(field));
        let record = std::mem::take(record);
        if !blank {
            records.push((at, record));
        }
    };
    while let Some(c) = chars.next() {
        match c {
            '"' if field.is_empty() && !quoted => {
                let opened = line;
                loop {
                    match chars.next() {
                        Some('"') if chars.peek() == Some(&'"') => {
                            chars.next();
                            field.push('"');
                        }
                        Some('"') => break,
                        Some(c) => {
                            line += usize::from(c == '\n');
                            field.push(c);
                        }
                        None => return Err(format!("line {opened}: a quote that does not end")),
                    }
                }
                quoted = true;
                if !matches!(chars.peek(), None | Some(',' | '\n' | '\r')) {
                    return Err(format!("line {line}: text after a closing quote"));
                }
            }
            ',' => {
                record.push(std::mem::take(&mut field));
                quoted = false;
            }
            '\r' if matches!(chars.peek(), None | Some('\n')) => {}
            '\n' => {
                end_record(&mut record, &mut field, quoted, begin);
                quoted = false;
                line += 1;
                begin = line;
            }
            c => field.push(c),
        }
    }
    if quoted || !field.is_empty() || !record.is_empty() {
        end_record(&mut record, &mut field, quoted, begin);
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_line_ends_and_blank_lines() {
        let text = "\u{feff}path,label,subject\r\n\"a,b.wav\",\"say \"\"hi\"\"\",s1\r\n\r\n\n\"two\nlines\",x,\"\"\nlast,,";
        let found = records(text).unwrap();
        let row = |r: &[&str]| r.iter().map(|s| s.to_string()).collect::<Vec<_>>();
        assert_eq!(
            found,
            [
                (1, row(&["path", "label", "subject"])),
                (2, row(&["a,b.wav", "say \"hi\"", "s1"])),
                (5, row(&["two\nlines", "x", ""])),
                (7, row(&["last", "", ""])),
            ]
        );
        assert!(records("a,\"b").unwrap_err().contains("line 1"));
        assert!(records("a\n\"b\"c").unwrap_err().contains("line 2"));
        assert_eq!(records("").unwrap(), []);
    }

    #[test]
    fn each_mistake_is_named_with_its_line() {
        let folder = std::env::temp_dir().join(format!("affekt-manifest-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("wav")).unwrap();
        let file = folder.join("list.csv");
        for name in ["wav/b.wav", "wav/a.wav"] {
            std::fs::write(folder.join(name), "").unwrap();
        }
        let read_text = |text: &str| {
            std::fs::write(&file, text).unwrap();
            read(&file)
        };
        let corpus = read_text(
            "subject,path,extra,label,split\nx,wav/b.wav,1,sad,test\ny,wav/a.wav,,calm,\n",
        )
        .unwrap();
        assert!(is_manifest(&file));
        assert_eq!(corpus.classes, ["calm", "sad"]);
        let items: Vec<_> = corpus
            .items
            .iter()
            .map(|i| (i.label, i.subject.as_str(), i.split.as_deref()))
            .collect();
        assert_eq!(items, [(0, "y", None), (1, "x", Some("test"))]);
        for (text, expected) in [
            ("", "empty file"),
            ("path,label\n", "no column \"subject\""),
            ("path,label,subject\n", "no row"),
            (
                "path,label,subject\nwav/a.wav,x\n",
                "line 2: 2 fields, expected 3",
            ),
            (
                "path,label,subject\nwav/a.wav,x,\n",
                "line 2: field 3 (subject) is empty",
            ),
            (
                "path,label,subject\n\nwav/c.wav,x,s\n",
                "line 3: there is no file",
            ),
            (
                "path,label,subject\nwav/a.wav,x,s\nwav/a.wav,y,s\n",
                "line 3",
            ),
            (
                "path,label,subject\nwav/a.wav,x,s\nwav/../wav/a.wav,y,t\n",
                "line 3",
            ),
        ] {
            let error = read_text(text).unwrap_err();
            assert!(
                matches!(&error, Error::Format { message, .. } if message.contains(expected)),
                "{error}"
            );
        }
        std::fs::write(&file, b"path,label,subject\n\xff,a,b\n").unwrap();
        assert!(read(&file).unwrap_err().to_string().contains("UTF-8"));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
