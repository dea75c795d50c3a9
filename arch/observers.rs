//! Who watches critical sections.

/// What stands in for a request and for its withdrawal, where somebody watches critical sections ([`observe`](crate::observe)). Each is given the
/// address that it comes back to, by which its site is known.
pub trait Observers {
    /// In the place of a request.
    extern "C" fn request(site: usize);
    /// In the place of its withdrawal.
    extern "C" fn withdrawal(site: usize);
}
