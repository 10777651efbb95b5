//! What the kernels that transform a whole frame at once have in common: the lengths they serve, their factors, and how a
//! frame is shared by invocations.
//!
//! A frame of n real samples is h = n/2 complex numbers, h = a · b. Their transform is done in two steps: one of
//! butterflies of length a on b/2 pairs of neighbours, the other of butterflies of length b on a/2 pairs of columns c
//! and a − c, which are the mirror images of each other. What lies between is in workgroup memory.

use crate::gpu::shader::Elem;
use crate::gpu::{Caps, Device, DeviceClass};
use crate::ops::launch;
use crate::ops::op::{Op, any_device};
use crate::ops::signal::transform::{real_plan_line, root};

/// The longest butterfly: more numbers than this are no longer kept in registers by anybody.
const LONGEST: usize = 32;

/// a and b of a frame of `n` samples, both even, a the longer; `None` if there are none.
pub(super) fn split(n: usize) -> Option<(usize, usize)> {
    if !n.is_multiple_of(8) {
        return None;
    }
    let half = n / 2;
    let smooth = |mut r: usize| {
        for p in [2, 3, 5, 7] {
            while r.is_multiple_of(p) {
                r /= p;
            }
        }
        r == 1
    };
    (2..=LONGEST)
        .filter(|b| b % 2 == 0 && half.is_multiple_of(2 * b))
        .map(|b| (half / b, b))
        .filter(|(a, b)| a >= b && *a <= LONGEST && smooth(*a) && smooth(*b))
        .min()
}

/// The factors of both steps and of what lies between bins and complex numbers, in the order that the kernels read
/// them, two at a time.
pub(super) fn factors(n: usize) -> Vec<(f64, f64)> {
    let (a, b) = split(n).expect("only lengths with a kernel have factors");
    let half = n / 2;
    let mut out = Vec::new();
    for k in 1..a {
        out.extend((0..b).map(|p| root(p * k, half)));
    }
    for j in 0..b / 2 {
        out.extend([root(a * j, n), root(a / 2 + a * j, n)]);
    }
    for c in 1..a / 2 {
        out.extend((0..b).map(|j| root(c + a * j, n)));
    }
    out
}

/// How a kernel is laid out over invocations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sharing {
    pub n: usize,
    /// Invocations that share a frame, a power of 2.
    pub lanes: u32,
    /// Frames of a workgroup, a power of 2.
    pub frames: u32,
}

impl Sharing {
    /// On software drivers an invocation does a whole frame, where workgroup memory holds eight of them, so that the lanes
    /// of a subgroup are frames that all do the same, and nobody waits at a barrier; on others 64 invocations share as
    /// many frames as workgroup memory holds.
    ///
    /// Forward, 16 × 80000 samples, n_fft 400, hop 160 on lavapipe, CPU time over two cores: 10.9 ms so, 19 ms by eight
    /// invocations to a frame (and 1.5 s instead of 0.1 to compile), 55 ms by frames, passes and bins of their own.
    pub fn plan(n: usize, caps: &Caps) -> Option<Sharing> {
        split(n)?;
        let bytes = 4 * n as u32;
        let room = |frames: u32| frames * bytes <= caps.max_workgroup_bytes;
        let frames = [8, 4, 2, 1].into_iter().find(|f| room(*f))?;
        let invocations = match caps.class {
            DeviceClass::Cpu => 8,
            _ => 64,
        };
        Some(Sharing {
            n,
            lanes: invocations / frames,
            frames,
        })
    }

    /// What a call of `owner` runs: how the entry point `entry` that a handle or the device's plan table asks for shares
    /// its frames, or as planned; `None` for the entry point `otherwise`, and for lengths that have no kernel.
    pub fn of_call(
        (owner, entry, otherwise): (&'static dyn Op, &'static str, &'static str),
        device: &Device,
        n: usize,
        sizes: &[usize],
    ) -> Option<Sharing> {
        let asked = launch::preferred(owner, device, Elem::F32, sizes);
        let planned = Sharing::plan(n, device.caps())?;
        match asked.first() {
            Some(&(name, code)) if name == entry => {
                let sharing = Sharing {
                    n,
                    ..Sharing::of(code)
                };
                let fits = sharing.is_possible() && sharing.fits(device.caps());
                Some(if fits { sharing } else { planned })
            }
            Some(&(name, _)) if name == otherwise => None,
            _ => Some(planned),
        }
    }

    /// Both ways of sharing a frame, of the length that conformance tries them on.
    pub fn listed() -> [Sharing; 2] {
        [1, 8].map(|lanes| Sharing {
            n: 48,
            lanes,
            frames: 8,
        })
    }

    /// In words.
    pub fn describe(self) -> String {
        format!(
            "{} in a workgroup, {} to a frame",
            match self.frames {
                1 => "one".to_string(),
                n => n.to_string(),
            },
            match self.lanes {
                1 => "one invocation".to_string(),
                n => format!("{n} invocations"),
            }
        )
    }

    /// As the number of a variant, of 20 bits.
    pub fn code(self) -> u32 {
        self.n as u32 | self.lanes.trailing_zeros() << 12 | self.frames.trailing_zeros() << 16
    }

    pub fn of(code: u32) -> Sharing {
        Sharing {
            n: (code & 0xfff) as usize,
            lanes: 1 << (code >> 12 & 0xf),
            frames: 1 << (code >> 16 & 0xf),
        }
    }

    /// Whether a number that came from outside means a kernel.
    pub fn is_possible(self) -> bool {
        split(self.n).is_some() && self.frames <= 8 && self.lanes * self.frames <= 256
    }

    pub fn fits(self, caps: &Caps) -> bool {
        self.frames * 4 * self.n as u32 <= caps.max_workgroup_bytes
    }

    pub fn needs(self) -> fn(&Caps) -> bool {
        match self.frames * 4 * self.n as u32 {
            0..=16_384 => any_device,
            _ => |caps| caps.max_workgroup_bytes >= 32_768,
        }
    }

    /// Frames of a verification case: a workgroup and a rest.
    pub fn tried_frames(self) -> usize {
        self.frames as usize + 4
    }

    /// How `lane` walks over the columns of a frame: the pair of 0 and a/2, whose bins pair in another way, by `first`,
    /// others by `others`.
    pub fn over_columns(self, first: &str, others: &str) -> String {
        let columns = self.n / 2 / split(self.n).expect("it is possible").1 / 2;
        let lanes = self.lanes;
        match lanes {
            // A branch in the loop would cost every lane both.
            1 => format!(
                "        {{\n{first}        }}\n        for (var c = 1u; c < {columns}u; c++) {{\n{others}        }}\n"
            ),
            _ => format!(
                "        if lane == 0u {{\n{first}        }}\n        for (var c = (lane + {lanes}u - 1u) % {lanes}u + 1u; c < {columns}u; c += {lanes}u) {{\n{others}        }}\n"
            ),
        }
    }

    /// What stands between the two steps.
    pub fn barrier(self) -> &'static str {
        match self.lanes {
            1 => "",
            _ => "    workgroupBarrier();\n",
        }
    }
}

/// What runs for transforms of `n` real numbers, and why.
pub(super) fn real_line(n: usize, caps: &Caps) -> String {
    match Sharing::plan(n, caps) {
        Some(sharing) => format!("whole rows at once, {}", sharing.describe()),
        None => real_plan_line(n),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_split_into_even_halves_and_codes_lead_back() {
        assert_eq!(split(400), Some((20, 10)));
        assert_eq!(split(512), Some((16, 16)));
        assert_eq!(split(2048), Some((32, 32)));
        assert_eq!(split(16), Some((4, 2)));
        for n in [0, 4, 12, 401, 882, 4096] {
            assert_eq!(split(n), None, "{n}");
        }
        for n in (8..=2048).filter(|n| split(*n).is_some()) {
            let (a, b) = split(n).expect("filtered");
            assert_eq!(2 * a * b, n);
            assert_eq!(factors(n).len(), (a - 1) * b + n / 4, "{n}");
        }
        for (lanes, frames) in [(1, 8), (32, 2)] {
            let sharing = Sharing {
                n: 2048,
                lanes,
                frames,
            };
            assert_eq!(Sharing::of(sharing.code()), sharing);
        }
    }
}
