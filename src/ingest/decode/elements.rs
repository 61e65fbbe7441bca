//! Splitting an array into its elements without reading them, so that one bad element spoils no other.

/// The bytes of every element of a JSON array, trimmed. Elements themselves are not checked.
///
/// # Errors
/// What is wrong with the array around them: it does not end, or something follows it.
pub(super) fn split(payload: &[u8]) -> Result<Vec<&[u8]>, String> {
    let text = payload.trim_ascii();
    let mut scan = Scan { depth: 0, in_string: false, escaped: false };
    let mut elements = Vec::new();
    let mut start = 1;
    for (at, byte) in text.iter().enumerate() {
        match scan.step(*byte) {
            Mark::Inside => {}
            Mark::Comma => {
                elements.push(text[start..at].trim_ascii());
                start = at + 1;
            }
            Mark::End if at + 1 < text.len() => {
                return Err(format!("found something after the array at byte {}", at + 1));
            }
            Mark::End => {
                let last = text[start..at].trim_ascii();
                if !last.is_empty() || !elements.is_empty() {
                    elements.push(last);
                }
                return Ok(elements);
            }
        }
    }
    Err("found the end of the message, expected the end of the array".to_owned())
}

/// The same text with every word and number that JSON doesn't know (`NaN`, `True`, `0xFFFF`, `1e999`, `+5`) as a string; `None`
/// when there is none.
pub(super) fn quoted(text: &[u8]) -> Option<Vec<u8>> {
    let mut scan = Scan { depth: 0, in_string: false, escaped: false };
    let (mut out, mut copied, mut at) = (Vec::new(), 0, 0);
    let is_bare = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.' | b'_');
    while at < text.len() {
        if scan.in_string || !is_bare(&text[at]) {
            scan.step(text[at]);
            at += 1;
            continue;
        }
        let end = text[at..].iter().position(|byte| !is_bare(byte)).map_or(text.len(), |length| at + length);
        if serde_json::from_slice::<serde_json::Value>(&text[at..end]).is_err() {
            out.extend_from_slice(&text[copied..at]);
            out.push(b'"');
            out.extend_from_slice(&text[at..end]);
            out.push(b'"');
            copied = end;
        }
        at = end;
    }
    (copied > 0).then(|| {
        out.extend_from_slice(&text[copied..]);
        out
    })
}

/// Where a byte stands in the array.
enum Mark {
    Inside,
    Comma,
    End,
}

struct Scan {
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl Scan {
    fn step(&mut self, byte: u8) -> Mark {
        if self.in_string {
            self.in_string = self.escaped || byte != b'"';
            self.escaped = !self.escaped && byte == b'\\';
            return Mark::Inside;
        }
        match byte {
            b'"' => self.in_string = true,
            b'[' | b'{' => self.depth += 1,
            b']' | b'}' => {
                self.depth = self.depth.saturating_sub(1);
                if self.depth == 0 {
                    return Mark::End;
                }
            }
            b',' if self.depth == 1 => return Mark::Comma,
            _ => {}
        }
        Mark::Inside
    }
}
