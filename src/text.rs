//! Text in a fixed buffer: what the runtime says, without an allocator and without `core::fmt`'s machinery
//! (which would double the runtime's size in every module that carries it).

/// Text of at most `N` bytes, 65,535 at most. What does not fit is cut off, never an error.
///
/// ```compile_fail
/// let text = invar::Text::<65536>::new();
/// ```
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
}

impl dyn Sink + '_ {
    /// Puts text from elsewhere, as a path: each control character, and each byte that is no UTF-8, as `?`. They would make
    /// lines of their own, or give orders to a terminal.
    #[cold]
    pub(crate) fn plain(&mut self, text: &[u8]) {
        if !cfg!(feature = "report") {
            // A small module knows ASCII only.
            return text.iter().for_each(|&byte| self.put(&[if (b' '..=b'~').contains(&byte) { byte } else { b'?' }]));
        }
        let mut rest = text;
        while !rest.is_empty() {
            let mut visible = 0;
            while let length @ 1.. = character(&rest[visible..]) {
                visible += length;
            }
            let (run, behind) = rest.split_at(visible);
            self.put(run);
            rest = behind;
            if let [first, behind @ ..] = rest {
                self.put(b"?");
                // Both bytes of a control character are one.
                let second = *first == 0xc2 && behind.first().is_some_and(|byte| (0x80..0xa0).contains(byte));
                rest = &behind[usize::from(second)..];
            }
        }
    }

    /// Puts a number in decimal.
    pub(crate) fn dec(&mut self, number: u64) {
        digits(self, number, 10);
    }

    /// Puts a number in decimal, which may be below 0.
    #[cold]
    #[inline(never)]
    fn signed(&mut self, number: i64) {
        if number < 0 {
            self.put(b"-");
        }
        self.dec(number.unsigned_abs());
    }

    /// Puts a number in hexadecimal, with `0x`.
    pub(crate) fn hex(&mut self, number: u64) {
        self.put(b"0x");
        digits(self, number, 16);
    }
}

/// The length of the character with which `text` begins, if it is one of UTF-8's and no control character; else 0.
#[cold]
#[inline(never)]
fn character(text: &[u8]) -> usize {
    let Some(&first) = text.first() else { return 0 };
    // The Unicode Standard, table 3-6; and the least number that needs so many bytes, without control characters.
    let (more, least) = match first {
        0x20..=0x7e => return 1,
        0xc2..=0xdf => (1, 0xa0),
        0xe0..=0xef => (2, 0x800),
        0xf0..=0xf4 => (3, 0x10000),
        _ => return 0,
    };
    let mut number = u32::from(first) & (0x3f >> more);
    for at in 1..=more {
        match text.get(at) {
            Some(&byte) if byte & 0xc0 == 0x80 => number = number << 6 | u32::from(byte & 0x3f),
            _ => return 0,
        }
    }
    if number >= least && char::from_u32(number).is_some() { more + 1 } else { 0 }
}

/// A number's digits.
#[cold]
#[inline(never)]
pub(crate) fn decimal(mut number: u32, digits: &mut [u8; 10]) -> &[u8] {
    let mut first = digits.len();
    // At least one, and as many as there is room for.
    while first > 0 && (number > 0 || first == digits.len()) {
        first -= 1;
        digits[first] = b'0' + (number % 10) as u8;
        number /= 10;
    }
    &digits[first..]
}

/// The number that these digits are, and nothing else.
#[cold]
#[inline(never)]
pub(crate) fn number(digits: &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for byte in digits {
        let digit = byte.checked_sub(b'0').filter(|&digit| digit < 10)?;
        number = number.checked_mul(10)?.checked_add(digit.into())?;
    }
    (!digits.is_empty()).then_some(number)
}

/// Puts a number's digits.
#[cold]
fn digits(out: &mut dyn Sink, number: u64, base: u64) {
    let mut digits = [0; 20];
    let mut first = digits.len();
    let mut rest = number;
    loop {
        let value = (rest % base) as u8;
        first = first.wrapping_sub(1);
        // There is always room. The compiler is not told: it would unroll the loop twenty times.
        if let Some(digit) = digits.get_mut(first) {
            *digit = if value < 10 { b'0' + value } else { b'a' - 10 + value };
        }
        rest /= base;
        if rest == 0 {
            return out.put(digits.get(first..).unwrap_or(&[]));
        }
    }
}

impl<const N: usize> Text<N> {
    const FITS: () = assert!(N <= u16::MAX as usize, "a `Text` has room for 65535 bytes at most");

    /// Empty text.
    pub const fn new() -> Self {
        let () = Self::FITS;
        Self { length: 0, bytes: [0; N] }
    }

    /// Appends `text`, cut at a character boundary if it does not fit.
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.bytes(text.as_bytes())
    }

    /// The same for what is text but for what others have made of it.
    #[inline(never)] // what `append` takes, at each of many places, would be more than a call
    pub(crate) fn bytes(&mut self, text: &[u8]) -> &mut Self {
        append(&mut self.bytes, &mut self.length, text, true);
        self
    }

    /// Appends a number in decimal.
    pub fn number(&mut self, number: i64) -> &mut Self {
        (self as &mut dyn Sink).signed(number);
        self
    }

    /// Makes a length that lies one that others, who are given a copy, can believe.
    pub(crate) fn limit(&mut self) {
        self.length = self.as_bytes().len() as u16;
    }

    /// The text so far.
    pub fn as_str(&self) -> &str {
        // Another module may have filled the buffer, with anything.
        core::str::from_utf8(self.as_bytes()).unwrap_or("(not UTF-8)")
    }

    // The length may come from another module's memory: never trust it beyond the buffer.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length as usize).unwrap_or(&self.bytes)
    }
}

/// Appends what fits of `more`: whole characters if it is `text`. One copy for buffers of all sizes.
#[cold]
#[inline(never)]
fn append(bytes: &mut [u8], length: &mut u16, more: &[u8], text: bool) {
    let room = bytes.get_mut(*length as usize..).unwrap_or(&mut []);
    let mut fits = more.len().min(room.len());
    // 0b10xx_xxxx continues a character of UTF-8.
    while text && more.get(fits).is_some_and(|byte| byte & 0xc0 == 0x80) {
        fits -= 1;
    }
    for (to, from) in room.iter_mut().zip(&more[..fits]) {
        *to = *from;
    }
    *length += fits as u16;
}

impl<const N: usize> Sink for Text<N> {
    #[inline(never)] // as `bytes`
    fn put(&mut self, bytes: &[u8]) {
        append(&mut self.bytes, &mut self.length, bytes, false);
    }
}

/// Text on its way to where it is written, a kilobyte at a time.
#[cfg(feature = "report")]
pub(crate) struct Buffered<'a> {
    text: Text<1024>,
    write: &'a mut dyn FnMut(&[u8]),
}

#[cfg(feature = "report")]
impl<'a> Buffered<'a> {
    pub(crate) fn new(write: &'a mut dyn FnMut(&[u8])) -> Self {
        Self { text: Text::new(), write }
    }

    /// Writes what is not yet written.
    #[cold]
    pub(crate) fn flush(&mut self) {
        (self.write)(self.text.as_bytes());
        self.text = Text::new();
    }
}

#[cfg(feature = "report")]
impl Sink for Buffered<'_> {
    #[cold]
    fn put(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(256) {
            if self.text.as_bytes().len() + part.len() > 1024 {
                self.flush();
            }
            self.text.put(part);
        }
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
            (&mut text as &mut dyn Sink).dec(number);
            assert_eq!(text.as_str(), format!("{number}"));
            let mut text = Text::<40>::new();
            (&mut text as &mut dyn Sink).hex(number);
            assert_eq!(text.as_str(), format!("{number:#x}"));
        }
        for number in [0, 7, 10, 1234567890, u32::MAX] {
            assert_eq!(decimal(number, &mut [0xff; 10]), format!("{number}").as_bytes());
        }
        for number in [0, 1, -1, 7, -10, i64::MAX, i64::MIN] {
            assert_eq!(Text::<40>::new().number(number).as_str(), format!("{number}"));
        }
    }

    #[test]
    fn plain_text_gives_no_orders() {
        for (text, plain) in [
            (b"" as &[u8], ""),
            ("/tmp/größe ✓".as_bytes(), "/tmp/größe ✓"),
            (b"a\nb\r\tc\x1b[2J\x7f", "a?b??c?[2J?"),
            // NEL and CSI, of the second set of control characters.
            ("a\u{85}b\u{9b}31m\u{a0}".as_bytes(), "a?b?31m\u{a0}"),
            (b"\x9b31m \xff\xfe \xe2\x80", "?31m ?? ??"),
            (b"\n", "?"),
        ] {
            let mut out = Text::<64>::new();
            (&mut out as &mut dyn Sink).plain(text);
            // Without reports each byte that is no visible ASCII is `?`.
            let ascii: std::vec::Vec<_> =
                text.iter().map(|&byte| if (b' '..=b'~').contains(&byte) { byte } else { b'?' }).collect();
            assert_eq!(out.as_bytes(), if cfg!(feature = "report") { plain.as_bytes() } else { &ascii });
        }
    }

    #[test]
    fn characters_are_those_of_the_standard_library() {
        let visible = |text: &[u8]| {
            let text = str::from_utf8(text).ok()?;
            text.chars().next().filter(|first| !first.is_control() && first.len_utf8() == text.len())
        };
        for first in 0..=255 {
            assert_eq!(character(&[first]) == 1, visible(&[first]).is_some());
            for second in 0..=255 {
                assert_eq!(character(&[first, second]) == 2, visible(&[first, second]).is_some());
                for tail in [&[0x7f][..], &[0x80], &[0xbf], &[0xc0], &[0x80, 0xbf], &[0x80, 0xc0], &[0xbf, 0x7f]] {
                    let bytes = [&[first, second], tail].concat();
                    assert_eq!(character(&bytes) == bytes.len(), visible(&bytes).is_some(), "{bytes:x?}");
                }
            }
        }
    }

    #[test]
    fn too_long_is_cut_at_a_character() {
        let mut text = Text::<5>::new();
        text.text("abc").text("äöü").text("!");
        assert_eq!(text.as_str(), "abcä");
        assert_eq!(text.text("more").as_str(), "abcä");
    }

    /// Whatever the room, what fits is whole characters, and as many as there is room for.
    #[test]
    fn any_room_holds_whole_characters() {
        let text = "aä€𝄞z\u{7ff}\u{10ffff}!";
        for room in 0..=text.len() + 1 {
            let mut bytes = [0; 32];
            let mut length = 0;
            append(&mut bytes[..room], &mut length, text.as_bytes(), true);
            let fits = (0..=room.min(text.len())).rev().find(|&end| text.is_char_boundary(end)).unwrap();
            assert_eq!(bytes[..length.into()], text.as_bytes()[..fits], "{room} bytes");
            // Bytes are not characters.
            length = 0;
            append(&mut bytes[..room], &mut length, text.as_bytes(), false);
            assert_eq!(usize::from(length), room.min(text.len()));
        }
    }

    #[test]
    fn it_can_be_formatted_into_and_out_of() {
        use core::fmt::Write;
        let mut text = Text::<20>::default();
        write!(text, "{}-two", 1).unwrap();
        assert_eq!([format!("{text}"), format!("{text:?}")], ["1-two", "\"1-two\""]);
    }

    #[test]
    #[cfg(feature = "report")]
    fn a_kilobyte_is_written_at_a_time() {
        let all: std::vec::Vec<u8> = (0..5000).map(|at| (at % 251) as u8).collect();
        for (step, lengths) in [(256, [1024; 4]), (1000, [1000; 4]), (5000, [1024; 4])] {
            let mut written = std::vec![];
            let mut write = |bytes: &[u8]| written.push(bytes.to_vec());
            let mut out = Buffered::new(&mut write);
            all.chunks(step).for_each(|part| out.put(part));
            out.flush();
            out.flush();
            assert_eq!(written.concat(), all);
            assert_eq!(written[..4].iter().map(|part| part.len()).collect::<std::vec::Vec<_>>(), lengths);
        }
    }

    #[test]
    fn a_length_that_lies_is_not_believed() {
        let text = Text::<5> { length: 60000, bytes: *b"hello" };
        assert_eq!(text.as_str(), "hello");
        assert_eq!({ text }.text("more").as_str(), "hello");
    }
}
