//! A source-filter synthesiser: a glottal pulse and noise through formant resonators. Knows no emotion and no speaker.
//!
//! Source: Klatt 1980, "Software for a cascade/parallel formant synthesizer" (resonators, cascade branch, bandwidths);
//! Klatt & Klatt 1990 (the KLGLOTT88 pulse). Departures: the pulse's step is smoothed against aliasing (PolyBLEP), and
//! one resonator shapes frication.

use super::SAMPLE_RATE_HZ;
use super::draws::Draws;

/// Samples per control frame: 2.5 ms, short enough that formant steps are not heard.
pub(super) const CONTROL: usize = 40;

/// Resonances of the vocal tract that are synthesised: all below 5.5 kHz, where a male tract has about one per kHz.
pub(super) const N_FORMANTS: usize = 5;

/// What the articulators do during one control frame.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    pub pitch_hz: f64,
    /// Peak of the glottal flow derivative.
    pub voicing: f64,
    /// Noise made at the glottis; it passes through the vocal tract.
    pub aspiration: f64,
    /// Noise made at a constriction; it meets `frication_hz` only.
    pub frication: f64,
    pub frication_hz: f64,
    pub formants_hz: [f64; N_FORMANTS],
    /// How dull the source is, in [0, 1): coefficient of a one-pole low-pass.
    pub dullness: f64,
}

/// What stays the same while one person speaks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Voice {
    /// Part of a period during which the glottis is open.
    pub open_quotient: f64,
    /// Relative deviation of the length of a period, and of its height.
    pub jitter: f64,
    pub shimmer: f64,
}

/// Half-power widths of the formants in Hz, within the ranges that Klatt 1980 gives for vowels.
const BANDWIDTHS_HZ: [f64; N_FORMANTS] = [60.0, 90.0, 150.0, 200.0, 250.0];

/// Speaks the frames: [`CONTROL`] samples each.
pub(super) fn synthesise(frames: &[Frame], voice: Voice, draws: &mut Draws) -> Vec<f64> {
    let rate = f64::from(SAMPLE_RATE_HZ);
    let mut out = Vec::with_capacity(frames.len() * CONTROL);
    let mut tract = [Resonator::default(); N_FORMANTS];
    let mut constriction = Resonator::default();
    let mut pulse = Pulse::new(voice);
    let mut source = 0.0;
    for (i, frame) in frames.iter().enumerate() {
        let next = frames.get(i + 1).unwrap_or(frame);
        for ((resonator, hz), width) in tract.iter_mut().zip(frame.formants_hz).zip(BANDWIDTHS_HZ) {
            resonator.tune(hz, width);
        }
        constriction.tune(frame.frication_hz, 0.35 * frame.frication_hz);
        // A resonator has gain 1 at 0 Hz; a constriction has none there, and about 1 where it resonates.
        let constriction_gain = constriction.gain_at_resonance(frame.frication_hz).recip();
        for s in 0..CONTROL {
            let way = s as f64 / CONTROL as f64;
            let between = |a: f64, b: f64| a + (b - a) * way;
            let noise = draws.white();
            let (flow, open) = pulse.next(between(frame.pitch_hz, next.pitch_hz) / rate, draws);
            let breath = noise * between(frame.aspiration, next.aspiration) * (0.4 + 0.6 * open);
            let voiced = flow * between(frame.voicing, next.voicing);
            source = voiced + frame.dullness * (source - voiced);
            let mut y = source + breath;
            for resonator in &mut tract {
                y = resonator.next(y);
            }
            let hiss = noise * between(frame.frication, next.frication);
            out.push(y + constriction_gain * constriction.next(hiss));
        }
    }
    out
}

/// Two poles: y = a x + b y₁ + c y₂, with gain 1 at 0 Hz.
#[derive(Debug, Clone, Copy, Default)]
struct Resonator {
    a: f64,
    b: f64,
    c: f64,
    y1: f64,
    y2: f64,
}

impl Resonator {
    fn tune(&mut self, hz: f64, width_hz: f64) {
        let period = 1.0 / f64::from(SAMPLE_RATE_HZ);
        self.c = -(-std::f64::consts::TAU * width_hz * period).exp();
        let radius = (-std::f64::consts::PI * width_hz * period).exp();
        self.b = 2.0 * radius * (std::f64::consts::TAU * hz * period).cos();
        self.a = 1.0 - self.b - self.c;
    }

    fn next(&mut self, x: f64) -> f64 {
        let y = self.a * x + self.b * self.y1 + self.c * self.y2;
        self.y2 = self.y1;
        self.y1 = y;
        y
    }

    /// |H| at a frequency: a / |1 − b z⁻¹ − c z⁻²|.
    fn gain_at_resonance(&self, hz: f64) -> f64 {
        let w = std::f64::consts::TAU * hz / f64::from(SAMPLE_RATE_HZ);
        let re = 1.0 - self.b * w.cos() - self.c * (2.0 * w).cos();
        let im = self.b * w.sin() + self.c * (2.0 * w).sin();
        self.a / re.hypot(im)
    }
}

/// The derivative of the glottal flow: 2 x − 3 x² while open (x from 0 to 1), then 0.
struct Pulse {
    voice: Voice,
    /// Place in the period, in [0, 1).
    phase: f64,
    stretch: f64,
    height: f64,
}

impl Pulse {
    fn new(voice: Voice) -> Self {
        Pulse {
            voice,
            phase: 0.0,
            stretch: 1.0,
            height: 1.0,
        }
    }

    /// The flow derivative, and 1 while the glottis is open; `step` is the pitch in periods per sample.
    fn next(&mut self, step: f64, draws: &mut Draws) -> (f64, f64) {
        let step = step * self.stretch;
        self.phase += step;
        if self.phase >= 1.0 {
            self.phase -= 1.0;
            self.stretch = 1.0 + self.voice.jitter * draws.range(-1.7, 1.7);
            self.height = 1.0 + self.voice.shimmer * draws.range(-1.7, 1.7);
        }
        let closing = self.voice.open_quotient;
        let x = self.phase / closing;
        let open = f64::from(x < 1.0);
        let flow = open * (2.0 * x - 3.0 * x * x);
        // The flow jumps from −1 to 0 where the glottis closes: the step's two nearest samples take its band-limited form.
        let from_closing = (self.phase - closing) / step;
        let smooth = match from_closing {
            t if (0.0..1.0).contains(&t) => -0.5 * (1.0 - t) * (1.0 - t),
            t if (-1.0..0.0).contains(&t) => 0.5 * (1.0 + t) * (1.0 + t),
            _ => 0.0,
        };
        (self.height * (flow + smooth), open)
    }
}

#[cfg(test)]
mod tests {
    use super::super::draws::Purpose;
    use super::*;

    fn steady(pitch_hz: f64) -> Vec<Frame> {
        let frame = Frame {
            pitch_hz,
            voicing: 1.0,
            aspiration: 0.0,
            frication: 0.0,
            frication_hz: 4000.0,
            formants_hz: [500.0, 1500.0, 2500.0, 3500.0, 4500.0],
            dullness: 0.0,
        };
        vec![frame; 200]
    }

    const PLAIN: Voice = Voice {
        open_quotient: 0.6,
        jitter: 0.0,
        shimmer: 0.0,
    };

    /// Power of a piece at one frequency.
    fn power_at(x: &[f64], hz: f64) -> f64 {
        let w = std::f64::consts::TAU * hz / f64::from(SAMPLE_RATE_HZ);
        let turn = |f: fn(f64) -> f64| -> f64 {
            let terms = x.iter().enumerate().map(|(n, v)| v * f(w * n as f64));
            terms.sum()
        };
        (turn(f64::cos).powi(2) + turn(f64::sin).powi(2)) / (x.len() as f64).powi(2)
    }

    #[test]
    fn a_steady_vowel_has_its_pitch_and_its_formants() {
        // 125 Hz at 16 kHz: a period of 128 samples, so harmonics lie on exact frequencies of 4096 samples.
        let y = synthesise(
            &steady(125.0),
            PLAIN,
            &mut Draws::new(1, Purpose::Noise, 0, 0),
        );
        let y = &y[y.len() - 4096..];
        let between = power_at(y, 125.0 * 4.5);
        assert!(power_at(y, 500.0) > 1e4 * between, "{between}");
        // Harmonics next to a formant stand above those in the valleys beside it.
        for (peak, valley) in [(500.0, 1000.0), (1500.0, 2000.0), (2500.0, 3000.0)] {
            let (p, v) = (power_at(y, peak), power_at(y, valley));
            assert!(p > 10.0 * v, "{peak} Hz {p} against {valley} Hz {v}");
        }
    }

    #[test]
    fn a_resonator_passes_dc_and_peaks_where_it_is_tuned() {
        let mut r = Resonator::default();
        r.tune(1000.0, 80.0);
        let last = (0..4000).map(|_| r.next(1.0)).last();
        assert!((last.unwrap_or(f64::NAN) - 1.0).abs() < 1e-9, "{last:?}");
        let gain = |hz| r.gain_at_resonance(hz);
        assert!(gain(1000.0) > 1.3 * gain(960.0) && gain(1000.0) > 1.3 * gain(1040.0));
    }
}
