//! Labelled recordings found by the layout of their folder. Reads names, never sound.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::data::manifest;
use crate::error::{Error, Result};

/// A layout of files that tells labels and subjects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A CSV file with the columns `path,label,subject`, and optionally `group` and `split`; see [`manifest`].
    /// Classes: the labels, alphabetically.
    Manifest,
    /// `03a01Fa.wav`: speaker, sentence, first letter of the emotion in German, version.
    ///
    /// Classes, those that occur: neutral (N), anger (W), happiness (F), sadness (T), boredom (L), disgust (E), fear (A).
    /// Source: Burkhardt et al. 2005, "A Database of German Emotional Speech".
    EmoDb,
    /// `03-01-06-01-02-01-12.wav`: modality, vocal channel, emotion, intensity, statement, repetition, actor. Speech
    /// only: songs (channel 02) lack three emotions, and are listed as unknown.
    ///
    /// Classes, those that occur: neutral, calm, happy, sad, angry, fearful, disgust, surprised (01 to 08).
    /// Source: Livingstone & Russo 2018, "RAVDESS".
    Ravdess,
    /// A folder per speaker with a folder per emotion, or the other way around: `wangzhe/angry/201.wav`.
    ///
    /// Classes, those that occur: angry, fear, happy, neutral, sad, surprise, disgust, calm, bored. Folder names are
    /// taken in either case and as noun or adjective (`Anger`, `happiness`).
    /// Source: the CASIA Mandarin emotional corpus.
    Casia,
}

impl Kind {
    pub const ALL: [Kind; 4] = [Kind::Manifest, Kind::EmoDb, Kind::Ravdess, Kind::Casia];

    /// What [`FromStr`] reads.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Manifest => "manifest",
            Kind::EmoDb => "emodb",
            Kind::Ravdess => "ravdess",
            Kind::Casia => "casia",
        }
    }

    fn looked_for(self) -> &'static str {
        match self {
            Kind::Manifest => "a CSV file with the columns path,label,subject",
            Kind::EmoDb => "EmoDB names (03a01Fa.wav)",
            Kind::Ravdess => "RAVDESS names (03-01-06-01-02-01-12.wav)",
            Kind::Casia => "CASIA folders (SPEAKER/EMOTION/*.wav or EMOTION/SPEAKER/*.wav)",
        }
    }

    fn classes(self) -> &'static [&'static str] {
        match self {
            Kind::Manifest => &[],
            Kind::EmoDb => &[
                "neutral",
                "anger",
                "happiness",
                "sadness",
                "boredom",
                "disgust",
                "fear",
            ],
            Kind::Ravdess => &[
                "neutral",
                "calm",
                "happy",
                "sad",
                "angry",
                "fearful",
                "disgust",
                "surprised",
            ],
            Kind::Casia => &[
                "angry", "fear", "happy", "neutral", "sad", "surprise", "disgust", "calm", "bored",
            ],
        }
    }

    /// Class and subject of a file; nothing if its name or folders do not fit.
    fn recognise(self, file: &Path) -> Option<(&'static str, String)> {
        match self {
            Kind::Manifest => None,
            Kind::EmoDb => emodb(file.file_stem()?.to_str()?),
            Kind::Ravdess => ravdess(file.file_stem()?.to_str()?),
            Kind::Casia => casia(file),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Kind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Kind> {
        let found = Kind::ALL.into_iter().find(|k| k.name() == text);
        found.ok_or_else(|| {
            let names = Kind::ALL.map(Kind::name).join(", ");
            Error::attribute(
                "corpus",
                format!("no layout {text:?}, expected one of {names}"),
            )
        })
    }
}

/// One recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    pub file: PathBuf,
    /// Index into [`Corpus::classes`].
    pub label: usize,
    pub subject: String,
    /// Session, site or the like, for leave-one-group-out; manifests only.
    pub group: Option<String>,
    /// `train` or `test`; manifests only.
    pub split: Option<String>,
}

/// Labelled recordings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Corpus {
    pub name: String,
    /// Where it was found: a folder, or the CSV file.
    pub root: PathBuf,
    pub classes: Vec<String>,
    /// Sorted by path.
    pub items: Vec<Item>,
    /// Sound files that the layout has no place for, and repeated file names (the public RAVDESS archive holds every file
    /// twice); sorted. Worth a warning.
    pub unknown: Vec<PathBuf>,
}

impl Corpus {
    /// Opens a folder, or a CSV file, as the layout asked for, or as the first one of [`Kind::ALL`] that fits.
    ///
    /// Hidden files are skipped; folders are searched to a depth of eight.
    /// Errors: [`Error::Io`] if there is nothing or it cannot be read; [`Error::Format`] with what was looked for if no
    /// layout fits, or for what is wrong in a manifest.
    pub fn open(dir: impl AsRef<Path>, kind: Option<Kind>) -> Result<Corpus> {
        let dir = dir.as_ref();
        let found = std::fs::metadata(dir).map_err(|e| Error::io(dir, &e))?;
        if found.is_file() {
            return match kind {
                None | Some(Kind::Manifest) => manifest::read(dir),
                Some(kind) => Err(Error::format(
                    dir,
                    format!("a file, expected the folder of a {kind} corpus"),
                )),
            };
        }
        let kinds = match &kind {
            Some(kind) => std::slice::from_ref(kind),
            None => &Kind::ALL[..],
        };
        let mut files = Vec::new();
        walk(dir, 0, &mut files)?;
        let is = |file: &Path, endings: &[&str]| {
            let ending = file.extension().and_then(|e| e.to_str());
            ending.is_some_and(|e| endings.iter().any(|x| e.eq_ignore_ascii_case(x)))
        };
        let sounds: Vec<&PathBuf> = files.iter().filter(|f| is(f, &["wav", "flac"])).collect();
        for &kind in kinds {
            if kind == Kind::Manifest {
                let here = |f: &&PathBuf| f.parent() == Some(dir) && is(f, &["csv"]);
                let lists: Vec<&PathBuf> = files
                    .iter()
                    .filter(here)
                    .filter(|f| manifest::is_manifest(f))
                    .collect();
                match lists[..] {
                    [] => {}
                    [list] => return manifest::read(list),
                    [first, second, ..] => {
                        return Err(Error::format(
                            dir,
                            format!(
                                "two manifests, {} and {}: name one of them",
                                shown(first),
                                shown(second)
                            ),
                        ));
                    }
                }
                continue;
            }
            if let Some(mut corpus) = collect(dir, kind, &sounds) {
                let strange = |f: &&PathBuf| is(f, &["mp3", "m4a", "ogg", "opus", "wma", "aiff"]);
                corpus.unknown.extend(files.iter().filter(strange).cloned());
                corpus.unknown.sort();
                return Ok(corpus);
            }
        }
        let looked_for: Vec<&str> = kinds.iter().map(|k| k.looked_for()).collect();
        let message = format!(
            "no corpus in it ({} WAV and FLAC files); looked for {}",
            sounds.len(),
            looked_for.join(", ")
        );
        Err(Error::format(dir, message))
    }

    /// Subjects in alphabetical order.
    pub fn subjects(&self) -> Vec<&str> {
        let names: BTreeSet<&str> = self.items.iter().map(|i| i.subject.as_str()).collect();
        names.into_iter().collect()
    }

    /// The same recordings with the labels of another list of classes, as a trained model has them. Corpora call the same
    /// emotion by different words: see [`same_class`].
    ///
    /// Errors: [`Error::Format`] if a class of this corpus that has an item is not in the list.
    pub fn with_classes(&self, classes: &[String]) -> Result<Corpus> {
        let mut corpus = self.clone();
        for item in &mut corpus.items {
            let name = &self.classes[item.label];
            item.label = same_class(name, classes).ok_or_else(|| {
                Error::format(
                    &self.root,
                    format!(
                        "class {name:?} of {} is none of {}",
                        shown(&item.file),
                        classes.join(", ")
                    ),
                )
            })?;
        }
        corpus.classes = classes.to_vec();
        Ok(corpus)
    }

    /// Only the recordings for which `keeps` says so; the classes stay.
    pub fn only(&self, keeps: impl Fn(&Item) -> bool) -> Corpus {
        let mut corpus = self.clone();
        corpus.items.retain(keeps);
        corpus
    }

    /// Only the recordings of some classes, which become the classes in the order given.
    ///
    /// Errors: [`Error::Format`] if the corpus has no recording of one of them.
    pub fn only_classes(&self, classes: &[String]) -> Result<Corpus> {
        let has = |class: &String| self.items.iter().any(|i| self.classes[i.label] == *class);
        if let Some(absent) = classes.iter().find(|c| !has(c)) {
            return Err(Error::format(
                &self.root,
                format!(
                    "no recording of class {absent:?}; there is {}",
                    self.classes.join(", ")
                ),
            ));
        }
        self.only(|item| classes.contains(&self.classes[item.label]))
            .with_classes(classes)
    }

    /// How many items each class has.
    pub fn class_counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.classes.len()];
        self.items.iter().for_each(|i| counts[i.label] += 1);
        counts
    }
}

/// The corpus of the sound files that a layout knows; nothing if it knows none.
fn collect(dir: &Path, kind: Kind, sounds: &[&PathBuf]) -> Option<Corpus> {
    let mut found = Vec::new();
    let mut unknown = Vec::new();
    let mut names = BTreeSet::new();
    for &file in sounds {
        // Folder names above the corpus say nothing about it.
        let inside = file.strip_prefix(dir).unwrap_or(file);
        let recognised = kind.recognise(inside).filter(|_| {
            // These names are unique, so the same one again is the same recording.
            kind == Kind::Casia || names.insert(file.file_name())
        });
        match recognised {
            Some((class, subject)) => found.push((file, class, subject)),
            None => unknown.push(file.clone()),
        }
    }
    if found.is_empty() {
        return None;
    }
    let occurs = |class: &&&str| found.iter().any(|(_, c, _)| c == *class);
    let classes: Vec<&str> = kind.classes().iter().filter(occurs).copied().collect();
    let items = found
        .iter()
        .map(|(file, class, subject)| Item {
            file: (*file).clone(),
            label: classes.iter().take_while(|c| *c != class).count(),
            subject: subject.clone(),
            group: None,
            split: None,
        })
        .collect();
    Some(Corpus {
        name: kind.name().to_string(),
        root: dir.to_path_buf(),
        classes: classes.into_iter().map(String::from).collect(),
        items,
        unknown,
    })
}

/// Files below a folder, sorted by path.
fn walk(dir: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries = std::fs::read_dir(dir).map_err(|e| Error::io(dir, &e))?;
    let mut paths = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|e| Error::io(dir, &e))?;
        // Among them ._03a01Fa.wav, which some archives hold beside every file.
        if !entry.file_name().to_string_lossy().starts_with('.') {
            paths.push(entry.path());
        }
    }
    paths.sort();
    for path in paths {
        // A link that leads nowhere is neither.
        if path.is_dir() {
            // Deeper than any layout; a link to a folder above it would never end.
            if depth < 8 {
                walk(&path, depth + 1, files)?;
            }
        } else if path.is_file() {
            files.push(path);
        }
    }
    // A folder `a` sorts before a file `a.wav` by its name alone, not by the paths in it.
    if depth == 0 {
        files.sort();
    }
    Ok(())
}

fn shown(file: &Path) -> String {
    file.file_name()
        .map(|n| n.to_string_lossy().into_owned())
        .unwrap_or_default()
}

fn emodb(stem: &str) -> Option<(&'static str, String)> {
    let [s1, s2, text @ (b'a' | b'b'), t1, t2, letter, version] = *stem.as_bytes() else {
        return None;
    };
    let digits = [s1, s2, t1, t2].iter().all(u8::is_ascii_digit);
    if !digits || !text.is_ascii_lowercase() || !version.is_ascii_lowercase() {
        return None;
    }
    let class = match letter {
        b'N' => "neutral",
        b'W' => "anger",
        b'F' => "happiness",
        b'T' => "sadness",
        b'L' => "boredom",
        b'E' => "disgust",
        b'A' => "fear",
        _ => return None,
    };
    Some((class, stem[..2].to_string()))
}

fn ravdess(stem: &str) -> Option<(&'static str, String)> {
    let mut parts = [0u8; 7];
    let mut n = 0;
    for part in stem.split('-') {
        if part.len() != 2 || !part.bytes().all(|b| b.is_ascii_digit()) || n == 7 {
            return None;
        }
        parts[n] = part.parse().ok()?;
        n += 1;
    }
    let [
        modality,
        channel,
        emotion,
        intensity,
        statement,
        repetition,
        actor,
    ] = parts;
    let known = n == 7
        && (1..=3).contains(&modality)
        && channel == 1
        && [intensity, statement, repetition]
            .iter()
            .all(|x| (1..=2).contains(x))
        && (1..=24).contains(&actor);
    if !known {
        return None;
    }
    let class = Kind::Ravdess
        .classes()
        .get(usize::from(emotion.checked_sub(1)?))?;
    Some((class, format!("{actor:02}")))
}

fn casia(file: &Path) -> Option<(&'static str, String)> {
    let mut folders = file.parent()?.iter().rev();
    let inner = folders.next()?.to_str()?;
    let outer = folders.next()?.to_str()?;
    match (emotion(inner), emotion(outer)) {
        (Some(class), None) => Some((class, outer.to_string())),
        (None, Some(class)) => Some((class, inner.to_string())),
        _ => None,
    }
}

/// The place in a list of the class that means the same: that of this very name, otherwise the first one that names the same
/// emotion in one of the usual words, in either case (`anger` and `Angry`, `joy` and `happy`).
pub fn same_class(name: &str, classes: &[String]) -> Option<usize> {
    let meant = emotion(name);
    let same = |class: &String| meant.is_some() && emotion(class) == meant;
    let exact = classes.iter().position(|class| class == name);
    exact.or_else(|| classes.iter().position(same))
}

/// The adjective for an emotion that is named in one of the usual ways.
fn emotion(name: &str) -> Option<&'static str> {
    Some(match name.to_lowercase().as_str() {
        "angry" | "anger" => "angry",
        "fear" | "fearful" | "afraid" => "fear",
        "happy" | "happiness" | "joy" => "happy",
        "neutral" => "neutral",
        "sad" | "sadness" => "sad",
        "surprise" | "surprised" => "surprise",
        "disgust" | "disgusted" => "disgust",
        "calm" => "calm",
        "bored" | "boredom" => "bored",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of empty files.
    fn tree(name: &str, files: &[&str]) -> PathBuf {
        let root =
            std::env::temp_dir().join(format!("affekt-corpus-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&root);
        std::fs::create_dir_all(&root).unwrap();
        for file in files {
            let path = root.join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        root
    }

    fn found(corpus: &Corpus) -> Vec<(String, &str, &str)> {
        corpus
            .items
            .iter()
            .map(|i| {
                (
                    shown(&i.file),
                    corpus.classes[i.label].as_str(),
                    i.subject.as_str(),
                )
            })
            .collect()
    }

    #[test]
    fn emodb_full_and_subset() {
        let all = ["W", "L", "E", "A", "F", "T", "N"].map(|l| format!("wav/16b10{l}b.wav"));
        let mut files: Vec<&str> = all.iter().map(String::as_str).collect();
        files.extend([
            "README",
            "wav/strange.wav",
            "wav/._03a01Fa.wav",
            "wav/99x01Fa.wav",
            "x.mp3",
        ]);
        let root = tree("emodb", &files);
        let corpus = Corpus::open(&root, None).unwrap();
        assert_eq!(corpus.name, "emodb");
        assert_eq!(
            corpus.classes,
            [
                "neutral",
                "anger",
                "happiness",
                "sadness",
                "boredom",
                "disgust",
                "fear"
            ]
        );
        assert_eq!(corpus.items.len(), 7);
        let unknown: Vec<String> = corpus.unknown.iter().map(|f| shown(f)).collect();
        assert_eq!(unknown, ["99x01Fa.wav", "strange.wav", "x.mp3"]);
        let subset = tree(
            "emodb4",
            &["03a01Fa.wav", "03a01Nc.wav", "08a02Ta.wav", "08a01Wa.flac"],
        );
        let corpus = Corpus::open(&subset, Some(Kind::EmoDb)).unwrap();
        assert_eq!(corpus.classes, ["neutral", "anger", "happiness", "sadness"]);
        assert_eq!(
            found(&corpus),
            [
                ("03a01Fa.wav".into(), "happiness", "03"),
                ("03a01Nc.wav".into(), "neutral", "03"),
                ("08a01Wa.flac".into(), "anger", "08"),
                ("08a02Ta.wav".into(), "sadness", "08"),
            ]
        );
        assert_eq!(corpus.subjects(), ["03", "08"]);
        assert_eq!(corpus.class_counts(), [1, 1, 1, 1]);
        for root in [root, subset] {
            std::fs::remove_dir_all(root).unwrap();
        }
    }

    #[test]
    fn ravdess_with_its_second_copy_and_a_song() {
        let root = tree(
            "ravdess",
            &[
                "Actor_12/03-01-06-01-02-01-12.wav",
                "Actor_12/03-01-01-01-02-01-12.wav",
                "Actor_01/03-01-08-02-02-02-01.wav",
                "Actor_01/03-02-06-02-02-02-01.wav",
                "audio_speech_actors_01-24/Actor_12/03-01-06-01-02-01-12.wav",
                "Actor_01/03-01-09-02-02-02-01.wav",
            ],
        );
        let corpus = Corpus::open(&root, None).unwrap();
        assert_eq!(
            found(&corpus),
            [
                ("03-01-08-02-02-02-01.wav".into(), "surprised", "01"),
                ("03-01-01-01-02-01-12.wav".into(), "neutral", "12"),
                ("03-01-06-01-02-01-12.wav".into(), "fearful", "12"),
            ]
        );
        assert_eq!(corpus.unknown.len(), 3);
        std::fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn casia_in_both_orders() {
        let root = tree(
            "casia",
            &[
                "db/wangzhe/angry/201.wav",
                "db/wangzhe/Sad/201.wav",
                "db/liu/angry/201.wav",
                "db/liu/x/1.wav",
            ],
        );
        let corpus = Corpus::open(&root, None).unwrap();
        assert_eq!(corpus.classes, ["angry", "sad"]);
        assert_eq!(
            found(&corpus),
            [
                ("201.wav".into(), "angry", "liu"),
                ("201.wav".into(), "sad", "wangzhe"),
                ("201.wav".into(), "angry", "wangzhe"),
            ]
        );
        assert_eq!(corpus.unknown.len(), 1);
        let turned = tree("turned", &["happiness/zhao/1.wav", "Surprise/zhao/1.wav"]);
        let corpus = Corpus::open(&turned, Some(Kind::Casia)).unwrap();
        assert_eq!(corpus.classes, ["happy", "surprise"]);
        assert_eq!(corpus.subjects(), ["zhao"]);
        for root in [root, turned] {
            std::fs::remove_dir_all(root).unwrap();
        }
    }

    #[test]
    fn nothing_to_find_says_what_was_looked_for() {
        let root = tree("none", &["a.wav", "b.txt"]);
        let error = Corpus::open(&root, None).unwrap_err().to_string();
        for part in [
            "1 WAV and FLAC",
            "EmoDB",
            "RAVDESS",
            "CASIA",
            "path,label,subject",
        ] {
            assert!(error.contains(part), "{error}");
        }
        let error = Corpus::open(&root, Some(Kind::Ravdess))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("RAVDESS") && !error.contains("EmoDB"),
            "{error}"
        );
        assert!(matches!(
            Corpus::open(root.join("absent"), None),
            Err(Error::Io { .. })
        ));
        assert!(
            "emo"
                .parse::<Kind>()
                .unwrap_err()
                .to_string()
                .contains("emodb")
        );
        for kind in Kind::ALL {
            assert_eq!(kind.name().parse::<Kind>().unwrap(), kind);
        }
        let header = "path,label,subject\n";
        std::fs::write(root.join("one.csv"), format!("{header}a.wav,x,s\n")).unwrap();
        assert_eq!(Corpus::open(&root, None).unwrap().items.len(), 1);
        std::fs::write(root.join("two.csv"), header).unwrap();
        let error = Corpus::open(&root, None).unwrap_err().to_string();
        assert!(
            error.contains("one.csv") && error.contains("two.csv"),
            "{error}"
        );
        assert_eq!(
            Corpus::open(root.join("one.csv"), None)
                .unwrap()
                .items
                .len(),
            1
        );
        std::fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn classes_of_a_trained_model() {
        let root = tree("classes", &["03a01Fa.wav", "03a01Nc.wav", "03a01Ta.wav"]);
        let corpus = Corpus::open(&root, None).unwrap();
        let names = |list: &[&str]| list.iter().map(|s| s.to_string()).collect::<Vec<_>>();
        let wide = corpus
            .with_classes(&names(&["fear", "sadness", "happiness", "neutral"]))
            .unwrap();
        assert_eq!(
            wide.items.iter().map(|i| i.label).collect::<Vec<_>>(),
            [2, 3, 1]
        );
        let error = corpus
            .with_classes(&names(&["sadness"]))
            .unwrap_err()
            .to_string();
        assert!(error.contains("happiness"), "{error}");
        let two = corpus
            .only_classes(&names(&["sadness", "neutral"]))
            .unwrap();
        assert_eq!(
            two.items.iter().map(|i| i.label).collect::<Vec<_>>(),
            [1, 0]
        );
        assert!(corpus.only_classes(&names(&["anger"])).is_err());
        let other_words = corpus
            .with_classes(&names(&["Happy", "sad", "neutral"]))
            .unwrap();
        assert_eq!(
            other_words
                .items
                .iter()
                .map(|i| i.label)
                .collect::<Vec<_>>(),
            [0, 2, 1]
        );
        std::fs::remove_dir_all(root).unwrap();
    }
}
