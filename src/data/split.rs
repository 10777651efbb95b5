//! Which recordings a model learns from and which it is tested on: by speaker, group, or a list fixed beforehand.
//!
//! What would make the scores of a fold meaningless is refused, not warned of: a subject or group with one class only
//! (its recall says nothing about the others), a class that a fold's training set lacks, subjects on both sides.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use crate::data::corpus::Corpus;
use crate::data::draws::{Draws, Purpose};
use crate::error::{Error, Result};

/// Indices into [`Corpus::items`], ascending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fold {
    /// The subject or group held out, `1` to `k`, or `fixed`.
    pub name: String,
    pub train: Vec<usize>,
    pub test: Vec<usize>,
}

/// How a corpus is split.
///
/// As text, for the command line: `loso`, `logo`, `kfold:5`, `kfold:5:SEED`, `fixed:03,08` (the test subjects), `column`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Protocol {
    /// A fold per subject, in alphabetical order; the subject is the test set.
    LeaveOneSubjectOut,
    /// A fold per group, a column of the manifest.
    LeaveOneGroupOut,
    /// Subjects in an order drawn from the seed, dealt to `k` folds in turn.
    KFold { k: usize, seed: u64 },
    /// One fold whose test set is these subjects.
    Fixed { test: Vec<String> },
    /// One fold by the column `split` of the manifest: `train` or `test`; others, such as `dev`, are left out.
    Column,
}

impl Protocol {
    fn name(&self) -> &'static str {
        match self {
            Protocol::LeaveOneSubjectOut => "loso",
            Protocol::LeaveOneGroupOut => "logo",
            Protocol::KFold { .. } => "kfold",
            Protocol::Fixed { .. } => "fixed",
            Protocol::Column => "column",
        }
    }

    /// The folds of a corpus.
    ///
    /// Errors: [`Error::Attribute`] with the name of the protocol for fewer than two subjects or groups, `k` below 2 or
    /// above the number of subjects, an unknown subject, an item without group or split, a side without items, a test set
    /// of one class only, a training set that lacks a class of the corpus. The column `split` may divide a subject, as
    /// speaker-dependent protocols do.
    pub fn folds(&self, corpus: &Corpus) -> Result<Vec<Fold>> {
        let wrong = |message: String| Error::attribute(self.name(), message);
        let subjects = corpus.subjects();
        // Whether the item is in the test set; nothing leaves it out.
        type Side<'a> = Box<dyn Fn(usize) -> Option<bool> + 'a>;
        let subject = |i: usize| corpus.items[i].subject.as_str();
        let few = |what: &str, n: usize| {
            wrong(format!(
                "{} has {n} {what}{}, expected at least 2",
                corpus.root.display(),
                if n == 1 { "" } else { "s" }
            ))
        };
        let folds: Vec<(String, Side)> = match self {
            Protocol::LeaveOneSubjectOut => {
                if subjects.len() < 2 {
                    return Err(few("subject", subjects.len()));
                }
                let fold = |name: &&'_ str| {
                    let own = name.to_string();
                    let side: Side = Box::new(move |i| Some(subject(i) == own));
                    (format!("subject {name}"), side)
                };
                subjects.iter().map(fold).collect()
            }
            Protocol::LeaveOneGroupOut => {
                if let Some(item) = corpus.items.iter().find(|i| i.group.is_none()) {
                    return Err(wrong(format!(
                        "{} has no group: groups come from a manifest with a column group",
                        item.file.display()
                    )));
                }
                let groups: BTreeSet<&str> = corpus
                    .items
                    .iter()
                    .filter_map(|i| i.group.as_deref())
                    .collect();
                if groups.len() < 2 {
                    return Err(few("group", groups.len()));
                }
                let fold = |name: &str| {
                    let own = name.to_string();
                    let side: Side =
                        Box::new(move |i| Some(corpus.items[i].group.as_ref() == Some(&own)));
                    (format!("group {name}"), side)
                };
                groups.into_iter().map(fold).collect()
            }
            Protocol::KFold { k, seed } => {
                if subjects.len() < 2 {
                    return Err(few("subject", subjects.len()));
                }
                if *k < 2 || *k > subjects.len() {
                    return Err(wrong(format!(
                        "k is {k}, expected 2 to {}, the number of subjects",
                        subjects.len()
                    )));
                }
                let mut order = subjects.clone();
                Draws::of(Purpose::Split, *seed, 0, 0).shuffle(&mut order);
                let fold = |f: usize| {
                    let dealt = order.iter().skip(f).step_by(*k);
                    let own: BTreeSet<String> = dealt.map(|s| s.to_string()).collect();
                    let side: Side = Box::new(move |i| Some(own.contains(subject(i))));
                    (format!("fold {}", f + 1), side)
                };
                (0..*k).map(fold).collect()
            }
            Protocol::Fixed { test } => {
                if let Some(name) = test.iter().find(|t| !subjects.contains(&t.as_str())) {
                    return Err(wrong(format!(
                        "no subject {name:?}; there is {}",
                        subjects.join(", ")
                    )));
                }
                let side: Side = Box::new(move |i| Some(test.iter().any(|t| t == subject(i))));
                vec![("fixed".into(), side)]
            }
            Protocol::Column => {
                let side: Side = Box::new(|i| match corpus.items[i].split.as_deref()? {
                    "test" => Some(true),
                    "train" => Some(false),
                    _ => None,
                });
                vec![("column".into(), side)]
            }
        };
        let present: Vec<bool> = corpus.class_counts().iter().map(|&n| n > 0).collect();
        let classes = |indices: &[usize]| -> BTreeSet<usize> {
            indices.iter().map(|&i| corpus.items[i].label).collect()
        };
        let mut out = Vec::with_capacity(folds.len());
        for (title, side) in folds {
            let pick = |wanted| -> Vec<usize> {
                (0..corpus.items.len())
                    .filter(|&i| side(i) == Some(wanted))
                    .collect()
            };
            let (train, test) = (pick(false), pick(true));
            for (what, indices) in [("training", &train), ("test", &test)] {
                if indices.is_empty() {
                    return Err(wrong(format!("{title}: the {what} set is empty")));
                }
            }
            let tested = classes(&test);
            if let (1, Some(&only)) = (tested.len(), tested.first()) {
                return Err(wrong(format!(
                    "{title} has one class only ({}): a score on it would say nothing about the others",
                    corpus.classes[only]
                )));
            }
            let learnt = classes(&train);
            if let Some(absent) = (0..present.len()).find(|c| present[*c] && !learnt.contains(c)) {
                return Err(wrong(format!(
                    "{title}: its training set has no recording of class {}",
                    corpus.classes[absent]
                )));
            }
            // "subject 03" was for the messages.
            let name = match title.split_once(' ') {
                Some((_, name)) => name.to_string(),
                None => "fixed".into(),
            };
            out.push(Fold { name, train, test });
        }
        Ok(out)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Protocol::KFold { k, seed: 0 } => write!(f, "kfold:{k}"),
            Protocol::KFold { k, seed } => write!(f, "kfold:{k}:{seed}"),
            Protocol::Fixed { test } => write!(f, "fixed:{}", test.join(",")),
            other => f.write_str(other.name()),
        }
    }
}

impl FromStr for Protocol {
    type Err = Error;

    fn from_str(text: &str) -> Result<Protocol> {
        let wrong = || {
            Error::attribute(
                "protocol",
                format!(
                    "{text:?}, expected loso, logo, kfold:K, kfold:K:SEED, fixed:SUBJECT,… or column"
                ),
            )
        };
        let (name, rest) = match text.split_once(':') {
            Some((name, rest)) => (name, Some(rest)),
            None => (text, None),
        };
        Ok(match (name, rest) {
            ("loso", None) => Protocol::LeaveOneSubjectOut,
            ("logo", None) => Protocol::LeaveOneGroupOut,
            ("column", None) => Protocol::Column,
            ("kfold", Some(rest)) => {
                let (k, seed) = rest.split_once(':').unwrap_or((rest, "0"));
                Protocol::KFold {
                    k: k.parse().map_err(|_| wrong())?,
                    seed: seed.parse().map_err(|_| wrong())?,
                }
            }
            ("fixed", Some(rest)) if !rest.is_empty() => Protocol::Fixed {
                test: rest.split(',').map(|s| s.trim().to_string()).collect(),
            },
            _ => return Err(wrong()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::corpus::Item;

    /// One item per (subject, label), in this order.
    fn corpus(items: &[(&str, usize)]) -> Corpus {
        let item = |(i, &(subject, label)): (usize, &(&str, usize))| Item {
            file: format!("{i}.wav").into(),
            label,
            subject: subject.into(),
            group: None,
            split: None,
        };
        let n = items.iter().map(|(_, l)| l + 1).max().unwrap_or(0);
        Corpus {
            name: "made_up".into(),
            root: "made_up".into(),
            classes: (0..n).map(|c| format!("c{c}")).collect(),
            items: items.iter().enumerate().map(item).collect(),
            unknown: Vec::new(),
        }
    }

    fn full(subjects: &[&str]) -> Corpus {
        let items: Vec<(&str, usize)> = subjects.iter().flat_map(|s| [(*s, 0), (*s, 1)]).collect();
        corpus(&items)
    }

    fn refusal(protocol: &str, corpus: &Corpus) -> String {
        let protocol: Protocol = protocol.parse().unwrap();
        protocol.folds(corpus).unwrap_err().to_string()
    }

    #[test]
    fn each_subject_is_left_out_once() {
        let folds = Protocol::LeaveOneSubjectOut
            .folds(&corpus(&[
                ("b", 0),
                ("a", 0),
                ("b", 1),
                ("a", 1),
                ("c", 1),
                ("c", 0),
            ]))
            .unwrap();
        let fold = |name: &str, train: &[usize], test: &[usize]| Fold {
            name: name.into(),
            train: train.to_vec(),
            test: test.to_vec(),
        };
        assert_eq!(
            folds,
            [
                fold("a", &[0, 2, 4, 5], &[1, 3]),
                fold("b", &[1, 3, 4, 5], &[0, 2]),
                fold("c", &[0, 1, 2, 3], &[4, 5]),
            ]
        );
    }

    #[test]
    fn k_folds_part_the_subjects() {
        let corpus = full(&["a", "b", "c", "d", "e", "f", "g"]);
        let folds = Protocol::KFold { k: 3, seed: 5 }.folds(&corpus).unwrap();
        let mut tested: Vec<usize> = folds.iter().flat_map(|f| f.test.clone()).collect();
        tested.sort();
        assert_eq!(tested, (0..14).collect::<Vec<_>>());
        let sizes: Vec<usize> = folds.iter().map(|f| f.test.len()).collect();
        assert_eq!(sizes, [6, 4, 4]);
        for fold in &folds {
            let names = |side: &[usize]| -> BTreeSet<String> {
                side.iter()
                    .map(|&i| corpus.items[i].subject.clone())
                    .collect()
            };
            assert!(names(&fold.train).is_disjoint(&names(&fold.test)));
            assert_eq!(fold.train.len() + fold.test.len(), 14);
        }
        assert_eq!(
            folds,
            Protocol::KFold { k: 3, seed: 5 }.folds(&corpus).unwrap()
        );
        assert_ne!(
            folds,
            Protocol::KFold { k: 3, seed: 6 }.folds(&corpus).unwrap()
        );
    }

    #[test]
    fn groups_and_columns_of_a_manifest() {
        let mut corpus = full(&["a", "b", "c"]);
        assert!(refusal("logo", &corpus).contains("0.wav has no group"));
        for (i, item) in corpus.items.iter_mut().enumerate() {
            item.group = Some(if i < 4 { "x" } else { "y" }.into());
            item.split = Some(["train", "train", "test", "test", "dev", "dev"][i].into());
        }
        let folds = Protocol::LeaveOneGroupOut.folds(&corpus).unwrap();
        assert_eq!((folds[0].name.as_str(), folds[0].test.len()), ("x", 4));
        let folds = Protocol::Column.folds(&corpus).unwrap();
        assert_eq!(
            (&folds[0].train[..], &folds[0].test[..]),
            (&[0, 1][..], &[2, 3][..])
        );
        corpus.items.iter_mut().for_each(|i| i.split = None);
        assert!(refusal("column", &corpus).contains("training set is empty"));
    }

    #[test]
    fn fixed_subjects() {
        let corpus = full(&["a", "b", "c"]);
        let folds = "fixed:c, a"
            .parse::<Protocol>()
            .unwrap()
            .folds(&corpus)
            .unwrap();
        assert_eq!(folds[0].test, [0, 1, 4, 5]);
        assert!(refusal("fixed:d", &corpus).contains("there is a, b, c"));
        assert!(refusal("fixed:a,b,c", &corpus).contains("training set is empty"));
    }

    #[test]
    fn what_means_nothing_is_refused() {
        assert!(refusal("loso", &full(&["a"])).contains("1 subject, expected at least 2"));
        assert!(refusal("loso", &corpus(&[])).contains("0 subjects"));
        assert!(refusal("kfold:4", &full(&["a", "b", "c"])).contains("expected 2 to 3"));
        assert!(refusal("kfold:1", &full(&["a", "b", "c"])).contains("k is 1"));
        let one_class = corpus(&[("a", 0), ("a", 1), ("b", 0), ("c", 0), ("c", 1)]);
        let said = refusal("loso", &one_class);
        assert!(said.contains("subject b has one class only (c0)"), "{said}");
        let lacks = corpus(&[("a", 0), ("a", 1), ("b", 0), ("b", 2), ("b", 1)]);
        let said = refusal("loso", &lacks);
        assert!(
            said.contains("subject b: its training set has no recording of class c2"),
            "{said}"
        );
    }

    #[test]
    fn names_are_read_back() {
        for text in [
            "loso",
            "logo",
            "column",
            "kfold:5",
            "kfold:5:7",
            "fixed:03,08",
        ] {
            assert_eq!(text.parse::<Protocol>().unwrap().to_string(), text);
        }
        for text in [
            "", "los", "kfold", "kfold:x", "kfold:3:", "fixed:", "loso:1",
        ] {
            assert!(text.parse::<Protocol>().is_err(), "{text}");
        }
    }
}
