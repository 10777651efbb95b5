//! Emotional speech made by formula, for demonstrations and tests without recordings.
//!
//! [`EmotionalSpeech`] lets invented speakers babble. What distinguishes its four classes is *how pitch, speaking rate
//! and loudness move* during an utterance, never how high, fast or loud it is: classes differ only in the directions of the
//! three contours, and an average over time loses a direction. So a model must use the order of time; one that sees only
//! the average spectrum has little more than a guess.
//!
//! [`synth_emo_4`] is a smaller test bed of the same idea without a voice.
//!
//! The class names are mnemonics for contours. Nothing here says how people who feel so speak.

mod draws;
mod voice;

use std::f64::consts::{PI, TAU};

use draws::{Draws, Purpose};
use voice::{CONTROL, Frame, N_FORMANTS, Voice};

/// Samples per second of everything in this module.
pub const SAMPLE_RATE_HZ: u32 = 16_000;

/// Samples of an utterance of [`EmotionalSpeech`]: 2.56 s, 256 frames of 160 samples.
pub const N_SAMPLES: usize = 40_960;

/// The classes, in the order of their labels.
///
/// | class | pitch, in each accent group | speaking rate, over a phrase | loudness, over a phrase |
/// |---|---|---|---|
/// | anger | rises | speeds up | swells |
/// | fear | rises | slows down | fades |
/// | happiness | falls | slows down | swells |
/// | sadness | falls | speeds up | fades |
///
/// Any two classes differ in exactly two contours, so none of the three tells all, and each tells half.
pub const EMOTIONS: [&str; 4] = ["anger", "fear", "happiness", "sadness"];

/// Directions of pitch, rate and loudness for each class.
const DIRECTIONS: [[f64; 3]; 4] = [
    [1.0, 1.0, 1.0],
    [1.0, -1.0, -1.0],
    [-1.0, -1.0, 1.0],
    [-1.0, 1.0, -1.0],
];

/// Somebody who does not exist.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Speaker {
    /// Formants relative to an adult man's: the inverse of the length of the vocal tract.
    pub formant_scale: f64,
    /// Formants of this speaker against the average, one factor per formant: nobody's tract is a scaled copy.
    pub formant_factors: [f64; N_FORMANTS],
    /// Mean pitch.
    pub pitch_hz: f64,
    /// Syllables per second.
    pub tempo_hz: f64,
    /// Root mean square of an utterance against full scale.
    pub level_db: f64,
    /// Noise in the voice, against its pulses.
    pub breathiness: f64,
    /// Part of a period during which the glottis is open.
    pub open_quotient: f64,
    /// Tilt of the microphone: first tap of a one-zero filter.
    pub colour: f64,
    /// Background noise against the utterance's level.
    pub noise_db: f64,
}

/// A source of synthetic utterances; all of it follows from the seed.
///
/// ```
/// use affekt::data::synthetic::{EMOTIONS, EmotionalSpeech, N_SAMPLES};
///
/// let speech = EmotionalSpeech::new(7);
/// let (samples, label) = speech.utterance(3, 5);
/// assert_eq!(samples.len(), N_SAMPLES);
/// assert_eq!(EMOTIONS[label], "fear"); // labels take turns: 5 mod 4 = 1
/// assert_eq!(speech.utterance(3, 5), (samples, label));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EmotionalSpeech {
    seed: u64,
}

impl EmotionalSpeech {
    pub fn new(seed: u64) -> Self {
        EmotionalSpeech { seed }
    }

    /// Speaker `speaker_index`, always the same for a seed.
    ///
    /// Pitch, formants, level, tempo and voice are drawn for each, so any other index is a person never heard before:
    /// keep the indices of training and test apart.
    pub fn speaker(&self, speaker_index: u32) -> Speaker {
        let mut draws = Draws::new(self.seed, Purpose::Speaker, speaker_index, 0);
        // Small tracts go with high voices, loosely.
        let size = draws.unit();
        Speaker {
            formant_scale: 0.92 + 0.26 * size + draws.range(-0.04, 0.04),
            formant_factors: std::array::from_fn(|_| draws.range(0.95, 1.05)),
            pitch_hz: 150.0 * (size + draws.range(-0.2, 0.2)).exp2(),
            tempo_hz: draws.range(5.0, 6.4),
            level_db: draws.range(-36.0, -22.0),
            breathiness: draws.range(0.01, 0.06),
            open_quotient: draws.range(0.5, 0.7),
            colour: draws.range(-0.3, 0.3),
            noise_db: draws.range(-45.0, -35.0),
        }
    }

    /// One utterance and its label, an index into [`EMOTIONS`]: [`N_SAMPLES`] samples in [−1, 1].
    ///
    /// Labels take turns, `utterance_index mod 4`. Text, accents and the strength of the contours are drawn anew for each
    /// pair of indices. The same arguments give the same bits on one platform (sine and exponential are the system's).
    pub fn utterance(&self, speaker_index: u32, utterance_index: u32) -> (Vec<f32>, usize) {
        let label = utterance_index as usize % EMOTIONS.len();
        let speaker = self.speaker(speaker_index);
        let mut plan = Draws::new(self.seed, Purpose::Plan, speaker_index, utterance_index);
        let mut noise = Draws::new(self.seed, Purpose::Noise, speaker_index, utterance_index);
        let phrases = Contours::phrases(DIRECTIONS[label], &mut plan);
        let frames = articulate(&speaker, &phrases, &mut plan);
        let voice = Voice {
            open_quotient: speaker.open_quotient,
            jitter: 0.01,
            shimmer: 0.04,
        };
        let clean = voice::synthesise(&frames, voice, &mut noise);
        (record(&clean, &speaker, &mut noise), label)
    }
}

/// Breath groups of an utterance; each runs through the whole contour.
const N_PHRASES: usize = 2;

/// How one phrase moves: what its class is.
///
/// A phrase consists of accent groups of two syllables. Pitch glides within a group and starts anew in the next; rate and
/// loudness stay within a group and step from one to the next. So every loudness and every rate meets every pitch, and a
/// time average sees the same frames in all classes. (Tried: ramps over the phrase for all three. A bin between the lowest
/// and the highest pitch then spreads more where pitch and loudness go together, and logistic regression on means and
/// deviations reaches .56 of 4 classes; with pitch within groups on sliding loudness .55, so as it is .31.)
#[derive(Debug, Clone, Copy)]
struct Contours {
    start_secs: f64,
    end_secs: f64,
    /// From the middle of a glide to its end, signed: positive rises.
    pitch_semitones: f64,
    /// Relative change of the speaking rate from the phrase's mean to its end, signed: positive speeds up.
    rate_change: f64,
    /// Change of the loudness from the phrase's middle to its end, signed: positive swells.
    loudness_db: f64,
    /// Where this phrase lies as a whole, which means nothing.
    offset_semitones: f64,
    offset_db: f64,
}

impl Contours {
    /// The phrases of an utterance, with a breath before, between and after them.
    fn phrases([pitch, rate, loudness]: [f64; 3], draws: &mut Draws) -> [Self; N_PHRASES] {
        let duration_secs = N_SAMPLES as f64 / f64::from(SAMPLE_RATE_HZ);
        let middle = duration_secs / 2.0 + draws.range(-0.1, 0.1);
        let breath = draws.range(0.06, 0.14);
        let edges = [
            draws.range(0.04, 0.14),
            middle - breath / 2.0,
            middle + breath / 2.0,
            duration_secs - draws.range(0.04, 0.14),
        ];
        std::array::from_fn(|k| Contours {
            start_secs: edges[2 * k],
            end_secs: edges[2 * k + 1],
            pitch_semitones: pitch * draws.range(3.5, 5.5),
            offset_semitones: draws.range(-1.5, 1.5),
            offset_db: draws.range(-1.5, 1.5),
            rate_change: rate * draws.range(0.3, 0.5),
            loudness_db: loudness * draws.range(7.0, 10.0),
        })
    }

    fn speech_secs(&self) -> f64 {
        self.end_secs - self.start_secs
    }

    /// Pitch at a place from 0 to 1 within an accent group, against the speaker's mean.
    fn semitones_at(&self, place: f64) -> f64 {
        self.offset_semitones + self.pitch_semitones * (2.0 * place - 1.0)
    }

    /// Loudness of an accent group in the middle of which this many seconds of the utterance are over.
    fn loudness_db_at(&self, secs: f64) -> f64 {
        let tau = (secs - self.start_secs) / self.speech_secs();
        self.offset_db + self.loudness_db * (2.0 * tau - 1.0)
    }

    /// When the part `done` of all accent groups is over. With τ from 0 to 1 over the phrase the rate is 1 + c (2τ − 1)
    /// times its mean, so `done` = τ + c (τ² − τ).
    fn secs_when(&self, done: f64) -> f64 {
        let c = self.rate_change;
        // The root between 0 and 1, in the form that holds for small c.
        let b = 1.0 - c;
        let tau = 2.0 * done / (b + (b * b + 4.0 * c * done).sqrt());
        self.start_secs + tau * self.speech_secs()
    }
}

/// First three formants of vowels in Hz, adult men. Source: Peterson & Barney 1952, table II.
const VOWELS_HZ: [[f64; 3]; 9] = [
    [270.0, 2290.0, 3010.0],
    [390.0, 1990.0, 2550.0],
    [530.0, 1840.0, 2480.0],
    [660.0, 1720.0, 2410.0],
    [730.0, 1090.0, 2440.0],
    [570.0, 840.0, 2410.0],
    [440.0, 1020.0, 2240.0],
    [300.0, 870.0, 2240.0],
    [640.0, 1190.0, 2390.0],
];

/// Fourth and fifth formants, which vowels share. Source: Klatt 1980, table I.
const HIGH_FORMANTS_HZ: [f64; 2] = [3300.0, 3750.0];

/// Formants of a murmur through the nose, and where lips, tongue tip and tongue back pull the second and third formant.
const MURMUR_HZ: [f64; 3] = [250.0, 1200.0, 2300.0];
const PLACES_HZ: [[f64; 2]; 3] = [[900.0, 2200.0], [1750.0, 2600.0], [2100.0, 2500.0]];

#[derive(Debug, Clone, Copy)]
enum Consonant {
    /// Silence, a burst, a breath.
    Stop {
        burst_hz: f64,
    },
    Fricative {
        hiss_hz: f64,
    },
    Nasal,
    Approximant,
}

/// A consonant and a vowel.
#[derive(Debug, Clone, Copy)]
struct Syllable {
    from_secs: f64,
    to_secs: f64,
    /// The accent group around it.
    group_secs: [f64; 2],
    /// Part of the syllable that the consonant takes.
    onset: f64,
    consonant: Consonant,
    /// Formants at the consonant, at the start and at the end of the vowel.
    place: [f64; 3],
    vowel: [[f64; 3]; 2],
    /// Accent: how this syllable departs from the contours.
    semitones: f64,
    loudness_db: f64,
}

/// What a speaker says in a phrase: some syllables, in pairs.
fn speak(speaker: &Speaker, contours: &Contours, draws: &mut Draws) -> Vec<Syllable> {
    let n_groups = contours.speech_secs() * speaker.tempo_hz * draws.range(0.93, 1.07) / 2.0;
    let n_groups = n_groups.round().max(2.0) as usize;
    let secs = |n_done: usize| contours.secs_when(n_done as f64 / n_groups as f64);
    let splits: Vec<f64> = (0..n_groups).map(|_| draws.range(0.42, 0.58)).collect();
    let spoken = (0..2 * n_groups).map(|k| {
        let group_secs @ [from, to] = [secs(k / 2), secs(k / 2 + 1)];
        let middle = from + splits[k / 2] * (to - from);
        let edge = if k % 2 == 0 {
            [from, middle]
        } else {
            [middle, to]
        };
        let first = VOWELS_HZ[draws.below(VOWELS_HZ.len())];
        let second = match draws.unit() < 0.3 {
            true => VOWELS_HZ[draws.below(VOWELS_HZ.len())],
            false => first,
        };
        let place = PLACES_HZ[draws.below(PLACES_HZ.len())];
        let consonant = match draws.below(4) {
            0 => Consonant::Stop {
                burst_hz: draws.range(1200.0, 4500.0),
            },
            1 => Consonant::Fricative {
                hiss_hz: draws.range(3000.0, 6000.0),
            },
            2 => Consonant::Nasal,
            _ => Consonant::Approximant,
        };
        let place = match consonant {
            Consonant::Nasal => MURMUR_HZ,
            _ => [280.0, place[0], place[1]],
        };
        Syllable {
            from_secs: edge[0],
            to_secs: edge[1],
            group_secs,
            onset: draws.range(0.28, 0.42),
            consonant,
            place,
            vowel: [first, second],
            semitones: draws.range(-0.7, 0.7),
            loudness_db: draws.range(-1.5, 1.5),
        }
    });
    spoken.collect()
}

/// A smooth way from 0 to 1.
fn ease(x: f64) -> f64 {
    let x = x.clamp(0.0, 1.0);
    0.5 - 0.5 * (PI * x).cos()
}

fn from_db(db: f64) -> f64 {
    10f64.powf(db / 20.0)
}

/// Control frames of an utterance: what the mouth of a speaker does to say some text with these contours.
fn articulate(speaker: &Speaker, phrases: &[Contours], draws: &mut Draws) -> Vec<Frame> {
    let mut syllables = Vec::new();
    for phrase in phrases {
        let spoken = speak(speaker, phrase, draws);
        syllables.extend(spoken.into_iter().map(|s| (phrase, s)));
    }
    // A slow wander of pitch and loudness that means nothing.
    let wander: [f64; 2] = std::array::from_fn(|_| draws.range(0.0, TAU));
    let wander_hz = [draws.range(0.7, 1.6), draws.range(0.7, 1.6)];
    let register = draws.range(-1.0, 1.0);
    let mut at = 0;
    let frames = (0..N_SAMPLES / CONTROL).map(|i| {
        let secs = (i * CONTROL) as f64 / f64::from(SAMPLE_RATE_HZ);
        while at + 1 < syllables.len() && secs >= syllables[at + 1].1.from_secs {
            at += 1;
        }
        let (contours, syllable) = &syllables[at];
        let spoken = secs >= contours.start_secs && secs < contours.end_secs;
        let [from, to] = syllable.group_secs;
        let place = ((secs - from) / (to - from)).clamp(0.0, 1.0);
        let turn = |k: usize| (TAU * wander_hz[k] * secs + wander[k]).sin();
        let mut frame = pronounce(syllable, secs);
        let semitones =
            register + contours.semitones_at(place) + 0.5 * turn(0) + syllable.semitones;
        let db = contours.loudness_db_at((from + to) / 2.0) + turn(1) + syllable.loudness_db;
        let gain = f64::from(spoken) * from_db(db);
        frame.pitch_hz = speaker.pitch_hz * (semitones / 12.0).exp2();
        // A louder voice is brighter: its pulses close faster.
        frame.dullness = (0.55 - 0.02 * db).clamp(0.2, 0.85);
        frame.aspiration += speaker.breathiness * frame.voicing;
        frame.voicing *= gain;
        frame.aspiration *= gain;
        frame.frication *= gain;
        for (hz, factor) in frame.formants_hz.iter_mut().zip(speaker.formant_factors) {
            *hz *= speaker.formant_scale * factor;
        }
        frame.frication_hz *= speaker.formant_scale;
        frame
    });
    smooth(&frames.collect::<Vec<_>>())
}

/// What a syllable is like at a time within it, by an average adult man, at loudness 1.
fn pronounce(syllable: &Syllable, secs: f64) -> Frame {
    let length = syllable.to_secs - syllable.from_secs;
    let x = ((secs - syllable.from_secs) / length).clamp(0.0, 1.0);
    let onset = syllable.onset;
    // Place within the consonant and within the vowel.
    let (c, v) = (x / onset, (x - onset) / (1.0 - onset));
    let in_vowel = x >= onset;
    let from = syllable.place;
    let [first, second] = syllable.vowel;
    let mut formants_hz = [0.0; N_FORMANTS];
    for k in 0..3 {
        let vowel = first[k] + (second[k] - first[k]) * ease((v - 0.3) / 0.6);
        formants_hz[k] = from[k] + (vowel - from[k]) * ease((x - 0.7 * onset) / (0.6 * onset));
    }
    formants_hz[3..].copy_from_slice(&HIGH_FORMANTS_HZ);
    // A vowel rises fast, stays, and sinks before the next consonant.
    let vowel_shape = ease(v / 0.15) * (1.0 - 0.75 * ease((v - 0.6) / 0.4));
    let (mut voicing, mut aspiration, mut frication) = (0.0, 0.0, 0.0);
    let mut frication_hz = 4000.0;
    if in_vowel {
        voicing = vowel_shape.max(0.0);
    }
    match syllable.consonant {
        Consonant::Stop { burst_hz } => {
            frication_hz = burst_hz;
            if (0.7..1.0).contains(&c) {
                frication = 0.5 * (1.0 - (c - 0.7) / 0.3);
            }
            if c >= 0.8 && v < 0.12 {
                aspiration = 0.06;
            }
        }
        Consonant::Fricative { hiss_hz } => {
            frication_hz = hiss_hz;
            if !in_vowel {
                frication = 0.3 * (PI * c).sin().max(0.0);
            }
        }
        Consonant::Nasal => {
            voicing = voicing.max(if in_vowel {
                0.25 * (1.0 - ease(v / 0.15))
            } else {
                0.25
            })
        }
        Consonant::Approximant => {
            voicing = voicing.max(if in_vowel {
                0.35 * (1.0 - ease(v / 0.15))
            } else {
                0.35
            })
        }
    }
    Frame {
        pitch_hz: 0.0,
        voicing,
        aspiration,
        frication,
        frication_hz,
        formants_hz,
        dullness: 0.0,
    }
}

/// Muscles are slow: a moving average over 25 ms of pitch and formants, over 12.5 ms of the amplitudes.
fn smooth(frames: &[Frame]) -> Vec<Frame> {
    let average = |i: usize, reach: usize, of: &dyn Fn(&Frame) -> f64| {
        let near = &frames[i.saturating_sub(reach)..(i + reach + 1).min(frames.len())];
        near.iter().map(of).sum::<f64>() / near.len() as f64
    };
    let smoothed = (0..frames.len()).map(|i| Frame {
        pitch_hz: average(i, 5, &|f| f.pitch_hz),
        voicing: average(i, 2, &|f| f.voicing),
        aspiration: average(i, 2, &|f| f.aspiration),
        frication: average(i, 1, &|f| f.frication),
        frication_hz: frames[i].frication_hz,
        formants_hz: std::array::from_fn(|k| average(i, 5, &|f| f.formants_hz[k])),
        dullness: average(i, 5, &|f| f.dullness),
    });
    smoothed.collect()
}

/// A microphone and a room: colour, level and background noise of the speaker.
fn record(clean: &[f64], speaker: &Speaker, draws: &mut Draws) -> Vec<f32> {
    let mut before = 0.0;
    let coloured: Vec<f64> = clean
        .iter()
        .map(|&x| {
            let y = x + speaker.colour * before;
            before = x;
            y
        })
        .collect();
    let rms = (coloured.iter().map(|x| x * x).sum::<f64>() / coloured.len() as f64).sqrt();
    let gain = from_db(speaker.level_db) / rms;
    let noise = from_db(speaker.level_db + speaker.noise_db);
    let mut heard: Vec<f64> = coloured
        .iter()
        .map(|x| gain * x + noise * draws.white())
        .collect();
    // Loud accents of a loud speaker may pass full scale; the whole utterance is then turned down, not cut.
    let peak = heard.iter().fold(0.0f64, |m, x| m.max(x.abs()));
    if peak > 0.99 {
        heard.iter_mut().for_each(|x| *x *= 0.99 / peak);
    }
    heard.iter().map(|&x| x as f32).collect()
}

/// Samples of an item of [`synth_emo_4`].
pub const SYNTH_EMO_4_SAMPLES: usize = 16_128;

/// SynthEmo-4: one item of a test bed whose average spectrum carries no label.
///
/// Twelve harmonics glide linearly up (label 2, 3) or down (0, 1), under a tremor that speeds up (1, 3) or slows down
/// (0, 2), in white noise of .15 of their deviation. Label 2u + v of two fair bits; [`SYNTH_EMO_4_SAMPLES`] samples at
/// 16 kHz; `index` names the item.
///
/// With t in seconds, T the length, s = ±dep, a = ±1:
/// φ(t) = 2π (f0 (1 − s/2) t + f0 s t² / 2T), ψ(t) = 2π (r0 (1 + k (1 − a)/2) t + a r0 k t² / 2T) + ψ0,
/// x = Σ sin(h φ + θ_h) / h · (1 + .8 cos ψ) · gain;
/// f0 ~ U(140, 260) Hz, dep ~ U(.25, .45), r0 ~ U(4, 6) Hz, k ~ U(1, 1.6), gain ~ U(.3, 1), phases ~ U(0, 2π).
///
/// ```
/// let (samples, label) = affekt::data::synthetic::synth_emo_4(0, 9);
/// assert_eq!((samples.len(), label < 4), (16_128, true));
/// ```
pub fn synth_emo_4(seed: u64, index: u32) -> (Vec<f32>, usize) {
    let mut draws = Draws::new(seed, Purpose::SynthEmo4, index, 0);
    let (u, v) = (draws.below(2), draws.below(2));
    let (up, faster) = (2.0 * u as f64 - 1.0, 2.0 * v as f64 - 1.0);
    let f0 = draws.range(140.0, 260.0);
    let glide = up * draws.range(0.25, 0.45);
    let phases: [f64; 12] = std::array::from_fn(|_| draws.range(0.0, TAU));
    let r0 = draws.range(4.0, 6.0);
    let k = draws.range(1.0, 1.6);
    let psi_0 = draws.range(0.0, TAU);
    let gain = draws.range(0.3, 1.0);
    let length_secs = SYNTH_EMO_4_SAMPLES as f64 / f64::from(SAMPLE_RATE_HZ);
    let sample = |n: usize| {
        let t = n as f64 / f64::from(SAMPLE_RATE_HZ);
        let bend = t * t / (2.0 * length_secs);
        let phi = TAU * (f0 * (1.0 - glide / 2.0) * t + f0 * glide * bend);
        let psi =
            TAU * (r0 * (1.0 + k * (1.0 - faster) / 2.0) * t + faster * r0 * k * bend) + psi_0;
        let harmonics = (1..).zip(phases).map(|(h, theta)| {
            let h = f64::from(h);
            (h * phi + theta).sin() / h
        });
        harmonics.sum::<f64>() * (1.0 + 0.8 * psi.cos()) * gain
    };
    let clean: Vec<f64> = (0..SYNTH_EMO_4_SAMPLES).map(sample).collect();
    let mean = clean.iter().sum::<f64>() / clean.len() as f64;
    let variance = clean.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / clean.len() as f64;
    let noise = 0.15 * variance.sqrt();
    let heard = clean.iter().map(|x| (x + noise * draws.normal()) as f32);
    (heard.collect(), 2 * u + v)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rms(x: &[f32]) -> f64 {
        (x.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / x.len() as f64).sqrt()
    }

    #[test]
    fn the_same_arguments_give_the_same_bits_and_others_do_not() {
        let speech = EmotionalSpeech::new(5);
        let first = speech.utterance(2, 3);
        assert_eq!(first, speech.utterance(2, 3));
        for other in [
            speech.utterance(2, 7),
            speech.utterance(3, 3),
            EmotionalSpeech::new(6).utterance(2, 3),
        ] {
            assert_eq!(other.1, first.1);
            assert_ne!(other.0, first.0);
        }
        assert_eq!(synth_emo_4(1, 2), synth_emo_4(1, 2));
        assert_ne!(synth_emo_4(1, 2).0, synth_emo_4(1, 3).0);
    }

    #[test]
    fn samples_are_finite_below_full_scale_and_as_loud_as_the_speaker() {
        let speech = EmotionalSpeech::new(1);
        for speaker_index in 0..12 {
            let wanted = speech.speaker(speaker_index).level_db;
            for utterance_index in 0..4 {
                let (samples, label) = speech.utterance(speaker_index, utterance_index);
                assert_eq!(
                    (samples.len(), label),
                    (N_SAMPLES, utterance_index as usize)
                );
                assert!(samples.iter().all(|x| x.abs() < 1.0));
                // A shade over the level by the background; under it only where a peak had to be turned down.
                let level = 20.0 * rms(&samples).log10();
                assert!((level - wanted).abs() < 0.1, "{level} dB, wanted {wanted}");
            }
        }
    }

    #[test]
    fn contours_point_where_the_class_says() {
        for (label, name) in EMOTIONS.iter().enumerate() {
            let mut draws = Draws::new(4, Purpose::Plan, 0, label as u32);
            for phrase in Contours::phrases(DIRECTIONS[label], &mut draws) {
                let pitch = phrase.semitones_at(1.0) - phrase.semitones_at(0.0);
                let secs = |done| phrase.secs_when(done);
                // The first and the last of four equal parts of the text.
                let rate = (secs(0.25) - secs(0.0)) - (secs(1.0) - secs(0.75));
                let [from, to] = [phrase.start_secs, phrase.end_secs];
                let loudness = phrase.loudness_db_at(to) - phrase.loudness_db_at(from);
                let expected = match *name {
                    "anger" => [true, true, true],
                    "fear" => [true, false, false],
                    "happiness" => [false, false, true],
                    _ => [false, true, false],
                };
                assert_eq!([pitch, rate, loudness].map(|x| x > 0.0), expected, "{name}");
                assert!((secs(0.0) - from).abs() < 1e-12 && (secs(1.0) - to).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn loudness_swells_or_fades_in_the_sound_itself() {
        let speech = EmotionalSpeech::new(2);
        for speaker_index in 0..6 {
            for (label, swells) in [(0, true), (1, false), (2, true), (3, false)] {
                let (samples, _) = speech.utterance(speaker_index, label);
                // Phrases take about half of an utterance each.
                let quarter = |k: usize| rms(&samples[k * N_SAMPLES / 4..(k + 1) * N_SAMPLES / 4]);
                let rises = quarter(1) + quarter(3) > quarter(0) + quarter(2);
                assert_eq!(rises, swells, "speaker {speaker_index}, class {label}");
            }
        }
    }

    #[test]
    fn no_two_speakers_are_alike() {
        let speech = EmotionalSpeech::new(9);
        let speakers: Vec<Speaker> = (0..200).map(|i| speech.speaker(i)).collect();
        for (i, a) in speakers.iter().enumerate() {
            for b in &speakers[i + 1..] {
                assert!(a.pitch_hz != b.pitch_hz && a.level_db != b.level_db);
                assert!(a.formant_scale != b.formant_scale);
            }
        }
        let pitches = speakers.iter().map(|s| s.pitch_hz);
        let (low, high) = pitches.fold((f64::MAX, 0.0f64), |(l, h), p| (l.min(p), h.max(p)));
        assert!(low < 160.0 && high > 280.0, "{low} to {high} Hz");
    }

    #[test]
    fn synth_emo_4_glides_the_way_its_label_says() {
        let mut seen = [0usize; 4];
        for index in 0..40 {
            let (samples, label) = synth_emo_4(3, index);
            assert_eq!(samples.len(), SYNTH_EMO_4_SAMPLES);
            seen[label] += 1;
            // Fundamental of a piece by the lag of the largest autocorrelation, 85 to 400 Hz.
            let pitch = |from: usize| {
                let piece = &samples[from..from + 1200];
                let product = |lag: usize| -> f32 {
                    piece.iter().zip(&piece[lag..]).map(|(a, b)| a * b).sum()
                };
                let best = (40..188).max_by(|a, b| product(*a).total_cmp(&product(*b)));
                1.0 / best.expect("the range is not empty") as f64
            };
            assert_eq!(
                pitch(SYNTH_EMO_4_SAMPLES - 1200) > pitch(0),
                label >= 2,
                "item {index}"
            );
        }
        assert!(seen.iter().all(|n| *n > 2), "{seen:?}");
    }
}
