//! Text in a fixed buffer: what the runtime says, without an allocator and without `core::fmt`'s machinery
//! (which would double the runtime's size in every module that carries it).

/// Text of at most `N` bytes. What does not fit is cut off, never an error.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Text<const N: usize> {
    length: u16,
    bytes: [u8; N],
}

/// What a probe found, in words: the reason that reports show beside a key's value. At most 238 bytes.
pub type Evidence = Text<238>;

/// Where text goes: a fixed buffer, a file descriptor, a formatter.
pub(crate) trait Sink {
    fn put(&mut self, bytes: &[u8]);

    fn dec(&mut self, number: u64) {
        let mut digits = [0; 20];
        let mut at = digits.len();
        let mut rest = number;
        loop {
            at -= 1;
            digits[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        self.put(&digits[at..]);
    }

    fn hex(&mut self, number: u64) {
        self.put(b"0x");
        let digits = (64 - (number | 1).leading_zeros()).div_ceil(4);
        for digit in (0..digits).rev() {
            self.put(&[b"0123456789abcdef"[(number >> (4 * digit) & 15) as usize]]);
        }
    }
}

impl<const N: usize> Text<N> {
    /// Empty text.
    pub const fn new() -> Self {
        Self { length: 0, bytes: [0; N] }
    }

    /// Appends `text`, cut at a character boundary if it does not fit.
    pub fn text(&mut self, text: &str) -> &mut Self {
        let mut fits = text.len().min(self.room());
        while !text.is_char_boundary(fits) {
            fits -= 1;
        }
        self.append(&text.as_bytes()[..fits]);
        self
    }

    /// Appends a number in decimal.
    pub fn number(&mut self, number: i64) -> &mut Self {
        if number < 0 {
            self.put(b"-");
        }
        self.dec(number.unsigned_abs());
        self
    }

    /// The text so far.
    pub fn as_str(&self) -> &str {
        // Whoever fills the buffer by way of another module may have put anything there.
        core::str::from_utf8(self.as_bytes()).unwrap_or("(not UTF-8)")
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len()]
    }

    // The length may come from another module's memory: never trust it beyond the buffer.
    fn len(&self) -> usize {
        (self.length as usize).min(N)
    }

    fn room(&self) -> usize {
        N - self.len()
    }

    fn append(&mut self, bytes: &[u8]) {
        let start = self.len();
        let end = start + bytes.len();
        self.bytes[start..end].copy_from_slice(bytes);
        self.length = end as u16;
    }
}

impl<const N: usize> Sink for Text<N> {
    fn put(&mut self, bytes: &[u8]) {
        let fits = bytes.len().min(self.room());
        self.append(&bytes[..fits]);
    }
}

impl<const N: usize> Default for Text<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> core::fmt::Write for Text<N> {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        self.text(text);
        Ok(())
    }
}

impl<const N: usize> core::fmt::Display for Text<N> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl<const N: usize> core::fmt::Debug for Text<N> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        core::fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;

    #[test]
    fn numbers() {
        for number in [0, 7, 10, 1234567890, u64::MAX] {
            let mut text = Text::<40>::new();
            text.dec(number);
            assert_eq!(text.as_str(), format!("{number}"));
            let mut text = Text::<40>::new();
            text.hex(number);
            assert_eq!(text.as_str(), format!("{number:#x}"));
        }
        assert_eq!(Text::<40>::new().number(i64::MIN).as_str(), format!("{}", i64::MIN));
    }

    #[test]
    fn too_long_is_cut_at_a_character() {
        let mut text = Text::<5>::new();
        text.text("abc").text("äöü").text("!");
        assert_eq!(text.as_str(), "abcä");
        assert_eq!(text.text("more").as_str(), "abcä");
    }

    #[test]
    fn a_length_that_lies_is_not_believed() {
        let text = Text::<5> { length: 60000, bytes: *b"hello" };
        assert_eq!(text.as_str(), "hello");
        assert_eq!({ text }.text("more").as_str(), "hello");
    }
}
