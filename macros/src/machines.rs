//! The machines whose CPU features have keys, and what is there with a feature.

#[path = "features/aarch64.rs"]
mod aarch64;
#[path = "features/riscv64.rs"]
mod riscv64;
#[path = "features/x86_64.rs"]
#[allow(unused_macros)]
mod x86_64;

use x86_64::{V2, V3, V4};

macro_rules! names {
    ($($name:literal $register:ident $bit:literal $state:ident $builds_on:literal,)*) => { &[$(($name, $builds_on)),*] };
    ($($name:literal $word:ident $bits:tt $builds_on:literal,)*) => { &[$(($name, $builds_on)),*] };
    ($($name:literal $bit:literal $builds_on:literal,)*) => { &[$(($name, $builds_on)),*] };
}

/// One of them.
#[derive(Debug, PartialEq)]
pub(crate) struct Machine {
    /// What `target_arch` calls it.
    pub(crate) name: &'static str,
    /// Each feature, and what it builds on.
    pub(crate) features: &'static [(&'static str, &'static str)],
    /// Each level, and what it has beside what stands before it.
    pub(crate) levels: &'static [(&'static str, &'static str)],
}

/// As there are keys of in `arch/keys.rs`.
pub(crate) static MACHINES: [Machine; 3] = [
    Machine {
        name: "x86_64",
        features: x86_64::features!(names),
        levels: &[("x86-64-v2", V2), ("x86-64-v3", V3), ("x86-64-v4", V4)],
    },
    Machine { name: "aarch64", features: aarch64::features!(names), levels: &[] },
    Machine { name: "riscv64", features: riscv64::features!(names), levels: &[] },
];

/// Features that are no stable `target_feature`, and none that the compiler would choose instructions by.
pub(crate) const NOT_THE_COMPILERS: [&str; 3] = ["ermsb", "fsrm", "lahfsahf"];

impl Machine {
    /// A feature and all that it builds on, or all features of a level; none, if it has no feature of this name.
    pub(crate) fn closed(&self, name: &str) -> Option<Vec<&'static str>> {
        let mut all: Vec<&'static str> = match self.levels.iter().position(|(level, _)| *level == name) {
            Some(last) => self.levels[..=last].iter().flat_map(|(_, features)| features.split(' ')).collect(),
            None => vec![self.features.iter().find(|(feature, _)| *feature == name)?.0],
        };
        let mut at = 0;
        while let Some(feature) = all.get(at) {
            let (_, builds_on) = self.features.iter().find(|(name, _)| name == feature)?;
            for more in builds_on.split(',').filter(|more| !more.is_empty()) {
                if !all.contains(&more) {
                    all.push(more);
                }
            }
            at += 1;
        }
        Some(all)
    }

    /// What the compiler is to use with a feature or a level: itself, or the level's features.
    pub(crate) fn enables(&self, name: &str) -> String {
        let is_level = self.levels.iter().any(|(level, _)| *level == name);
        let features = if is_level { self.closed(name).unwrap_or_default() } else { vec![name] };
        let known = features.into_iter().filter(|feature| !NOT_THE_COMPILERS.contains(feature));
        known.collect::<Vec<_>>().join(",")
    }
}

/// The features of a level, of whichever machine it is; of anything else, itself.
pub(crate) fn spelt_out(name: &str) -> Vec<&str> {
    let level = MACHINES.iter().find(|machine| machine.levels.iter().any(|(level, _)| *level == name));
    level.and_then(|machine| machine.closed(name)).unwrap_or_else(|| vec![name])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is there with a feature is what the runtime takes to be there, whose table this one is.
    #[test]
    fn the_runtime_proves_the_same() {
        let Some(machine) = MACHINES.iter().find(|machine| machine.name == std::env::consts::ARCH) else { return };
        if invar_arch::FEATURES.is_empty() {
            return;
        }
        let names = machine.features.iter().chain(machine.levels).map(|(name, _)| *name);
        for name in names {
            let features = machine.closed(name).unwrap();
            let ours = features.iter().fold(0, |all, feature| all | invar_arch::feature_mask(feature));
            assert_eq!(ours, invar_arch::feature_mask(name), "{name}");
            assert_eq!(features.len(), ours.count_ones() as usize, "{name}");
        }
        assert_eq!(machine.features.len(), invar_arch::FEATURES.split_ascii_whitespace().count());
    }

    #[test]
    fn a_feature_comes_with_what_it_builds_on() {
        let [x86_64, aarch64, riscv64] = &MACHINES;
        assert_eq!(x86_64.closed("ssse3").unwrap(), ["ssse3", "sse3", "sse2", "sse"]);
        assert_eq!(aarch64.closed("sve2-aes").unwrap(), ["sve2-aes", "sve2", "aes", "sve", "neon", "fp16"]);
        assert_eq!(riscv64.closed("zfh").unwrap(), ["zfh", "zfhmin"]);
        assert_eq!([aarch64.closed("avx2"), riscv64.closed("x86-64-v2"), x86_64.closed("crc")], [None, None, None]);
    }

    #[test]
    fn the_compiler_gets_the_names_that_it_has() {
        let [x86_64, aarch64, _] = &MACHINES;
        assert_eq!(
            [x86_64.enables("fsrm"), x86_64.enables("avx2"), aarch64.enables("sve2-aes")],
            ["", "avx2", "sve2-aes"]
        );
        let level = x86_64.enables("x86-64-v2");
        assert!(level.split(',').any(|name| name == "sse4.2") && !level.contains("lahfsahf"), "{level}");
    }
}
