//! What the compiler says where a constant cannot be made.

/// A message in the making. It must fit.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Message {
    bytes: [u8; 256],
    length: usize,
}

impl Message {
    /// The beginning.
    pub const fn new(text: &str) -> Self {
        Self { bytes: [0; 256], length: 0 }.and(text.as_bytes())
    }

    /// What stands behind it, as far as there is room.
    pub const fn and(mut self, text: &[u8]) -> Self {
        let mut at = 0;
        while at < text.len() && self.length < self.bytes.len() {
            // A part of a character would be none.
            self.bytes[self.length] = if text[at].is_ascii() { text[at] } else { b'?' };
            (self.length, at) = (self.length + 1, at + 1);
        }
        self
    }

    /// Says it.
    pub const fn panic(self) -> ! {
        match core::str::from_utf8(self.bytes.split_at(self.length).0) {
            Ok(text) => panic!("{}", text),
            Err(_) => unreachable!(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;

    fn said(message: Message) -> String {
        let panics = std::panic::catch_unwind(|| message.panic()).expect_err("a panic");
        *panics.downcast::<String>().expect("its text")
    }

    #[test]
    fn a_message_is_what_it_was_given() {
        assert_eq!(said(Message::new("no `").and("zwölf".as_bytes()).and(b"` here")), "no `zw??lf` here");
        let long = "x".repeat(300);
        assert_eq!(said(Message::new(&long).and(b"y")), long[..256], "as far as there is room");
    }
}
