//! Raises the minimum memory that a policy module declares.
//!
//! OPA computes the minimum before it appends its last data segment, so whether a module can be
//! instantiated depends on the length of the texts in it: 48 rules failed where 32 and 64 loaded.
//! opa-wasm creates the memory from the declaration and has no other interface for its size, so this
//! module rewrites the declared minimum before the module is compiled. The number is padded to as many
//! bytes as it had, so that no size around it changes.

/// Minimum pages of 64 KiB that a module declares after the rewrite.
pub const PAGES_MIN: u32 = 16;

const MAGIC: &[u8] = b"\0asm\x01\0\0\0";
const IMPORT_SECTION: u8 = 2;
const KIND_FUNCTION: u8 = 0;
const KIND_TABLE: u8 = 1;
const KIND_MEMORY: u8 = 2;
const KIND_GLOBAL: u8 = 3;

/// Why bytes are not a policy module.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModuleError {
    /// The bytes do not begin with the magic number of a module.
    #[error("it is not a WebAssembly module")]
    NotAModule,
    /// The module is truncated or malformed.
    #[error("it is truncated or malformed at byte {offset}")]
    Malformed {
        /// The offset of the byte.
        offset: usize,
    },
    /// The module imports no memory, which every policy does.
    #[error("it imports no memory")]
    NoMemory,
}

/// Decodes the bytes of a module in order.
struct Cursor<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl Cursor<'_> {
    const fn malformed_error(&self) -> ModuleError {
        ModuleError::Malformed { offset: self.offset }
    }

    fn read_byte(&mut self) -> Result<u8, ModuleError> {
        let byte = *self.bytes.get(self.offset).ok_or_else(|| self.malformed_error())?;
        self.offset += 1;
        Ok(byte)
    }

    fn skip(&mut self, count: u32) -> Result<(), ModuleError> {
        let end = usize::try_from(count).ok().and_then(|count| self.offset.checked_add(count));
        match end.filter(|end| *end <= self.bytes.len()) {
            Some(end) => {
                self.offset = end;
                Ok(())
            }
            None => Err(self.malformed_error()),
        }
    }

    /// Decodes an unsigned LEB128 number of at most five bytes.
    fn read_number(&mut self) -> Result<u32, ModuleError> {
        let mut value = 0_u64;
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.read_byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return u32::try_from(value).map_err(|_| self.malformed_error());
            }
        }
        Err(self.malformed_error())
    }

    fn skip_name(&mut self) -> Result<(), ModuleError> {
        let length = self.read_number()?;
        self.skip(length)
    }

    /// Decodes limits; returns the byte range of the minimum, and its value.
    fn read_limits(&mut self) -> Result<(std::ops::Range<usize>, u32), ModuleError> {
        let flags = self.read_byte()?;
        let start = self.offset;
        let minimum = self.read_number()?;
        let range = start..self.offset;
        if flags & 1 == 1 {
            self.read_number()?;
        }
        Ok((range, minimum))
    }
}

/// Rewrites the minimum of the imported memory to at least [`PAGES_MIN`].
///
/// # Errors
/// [`ModuleError`] if the bytes are not a module that imports a memory.
pub fn raise_minimum(mut wasm: Vec<u8>) -> Result<Vec<u8>, ModuleError> {
    let (range, minimum) = find_memory_minimum(&wasm)?;
    if minimum >= PAGES_MIN {
        return Ok(wasm);
    }
    let bytes = wasm.get_mut(range).ok_or(ModuleError::NoMemory)?;
    let last = bytes.len().saturating_sub(1);
    let mut remaining = PAGES_MIN;
    for (index, byte) in bytes.iter_mut().enumerate() {
        let continuation = if index == last { 0 } else { 0x80 };
        *byte = continuation | u8::try_from(remaining & 0x7f).unwrap_or(0);
        remaining >>= 7;
    }
    Ok(wasm)
}

fn find_memory_minimum(wasm: &[u8]) -> Result<(std::ops::Range<usize>, u32), ModuleError> {
    if !wasm.starts_with(MAGIC) {
        return Err(ModuleError::NotAModule);
    }
    let mut cursor = Cursor { bytes: wasm, offset: MAGIC.len() };
    while cursor.offset < wasm.len() {
        let section = cursor.read_byte()?;
        let length = cursor.read_number()?;
        if section != IMPORT_SECTION {
            cursor.skip(length)?;
            continue;
        }
        for _ in 0..cursor.read_number()? {
            cursor.skip_name()?;
            cursor.skip_name()?;
            match cursor.read_byte()? {
                KIND_FUNCTION => drop(cursor.read_number()?),
                KIND_TABLE => {
                    cursor.skip(1)?;
                    cursor.read_limits()?;
                }
                KIND_MEMORY => return cursor.read_limits(),
                KIND_GLOBAL => cursor.skip(2)?,
                _ => return Err(cursor.malformed_error()),
            }
        }
        return Err(ModuleError::NoMemory);
    }
    Err(ModuleError::NoMemory)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(minimum: &[u8]) -> Vec<u8> {
        let mut import = vec![1, 3];
        import.extend(b"env");
        import.push(6);
        import.extend(b"memory");
        import.extend([KIND_MEMORY, 0]);
        import.extend(minimum);
        let mut wasm = MAGIC.to_vec();
        wasm.extend([IMPORT_SECTION, u8::try_from(import.len()).unwrap()]);
        wasm.extend(import);
        wasm
    }

    #[test]
    fn a_small_minimum_is_raised_without_changing_the_length() {
        assert_eq!(raise_minimum(module(&[2])), Ok(module(&[16])));
        assert_eq!(raise_minimum(module(&[0x82, 0x80, 0])), Ok(module(&[0x90, 0x80, 0])));
    }

    #[test]
    fn a_large_minimum_is_not_changed() {
        assert_eq!(raise_minimum(module(&[17])), Ok(module(&[17])));
        assert_eq!(raise_minimum(module(&[0x80, 2])), Ok(module(&[0x80, 2])));
    }

    #[test]
    fn bytes_that_are_no_policy_are_rejected() {
        assert_eq!(raise_minimum(b"hello".to_vec()), Err(ModuleError::NotAModule));
        assert_eq!(raise_minimum(MAGIC.to_vec()), Err(ModuleError::NoMemory));
        for length in MAGIC.len() + 1..module(&[2]).len() {
            let truncated = module(&[2]).into_iter().take(length).collect();
            assert!(matches!(raise_minimum(truncated), Err(ModuleError::Malformed { .. })), "truncated at {length}");
        }
    }
}
