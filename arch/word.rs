//! A number of 64 bits that threads share, on every machine.

#[cfg(target_has_atomic = "64")]
pub use core::sync::atomic::AtomicU64;
#[cfg(not(target_has_atomic = "64"))]
pub use halves::AtomicU64;

#[cfg(not(target_has_atomic = "64"))]
mod halves {
    use core::sync::atomic::{AtomicU32, Ordering};

    /// Two halves, where the machine stores no more at once. Who loads while another thread stores may find a half of each number:
    /// the runtime stores once, before it says so by an atomic of its own.
    #[derive(Debug)]
    #[repr(C, align(8))]
    pub struct AtomicU64([AtomicU32; 2]);

    impl AtomicU64 {
        /// With this number.
        pub const fn new(number: u64) -> Self {
            Self([AtomicU32::new(number as u32), AtomicU32::new((number >> 32) as u32)])
        }

        /// The number.
        pub fn load(&self, order: Ordering) -> u64 {
            let [low, high] = self.0.each_ref().map(|half| u64::from(half.load(order)));
            low | high << 32
        }

        /// Stores another one.
        pub fn store(&self, number: u64, order: Ordering) {
            self.0[0].store(number as u32, order);
            self.0[1].store((number >> 32) as u32, order);
        }
    }
}
