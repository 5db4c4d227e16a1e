//! Components for tests, from text: a frame with everything that the world has, and a body for each behaviour.
//!
//! A component that a toolchain makes has the same imports and the same export; the frame only needs no toolchain.

/// The frame, with `$BODY` for the functions of a component.
const FRAME: &str = include_str!("test_components/frame.wat");
/// A component that counts the variables, the arguments and the folders which it has, and returns `{"found":N}`.
pub const AUTHORITY: &str = include_str!("test_components/authority.wat");
/// The parameters and the result of `execute`, as they are flat.
const SIGNATURE: &str = "(export \"execute\") (param $inputs i32) (param $inputs_bytes i32) (param $context i32) \
                         (param $context_bytes i32) (result i32)";

/// What a component of the tests does when it is executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behavior<'a> {
    /// Returns its inputs.
    Echo,
    /// Returns its context.
    EchoContext,
    /// Returns this text.
    Return(&'a str),
    /// Fails with this code and this message.
    Fail(&'a str, &'a str),
    /// Traps.
    Trap,
    /// Never ends.
    Spin,
    /// Never ends, by instructions that fill a memory of 16 MiB each.
    FillMemory,
    /// Allocates until it is denied, and then traps as a program does that cannot allocate.
    GrowAndTrap,
    /// Allocates until it is denied, and then returns its inputs.
    GrowAndEcho,
    /// Invokes this agent with its inputs, and returns what that returns.
    CallAgent(&'a str),
    /// Returns all keys of its context, as the host has them.
    ReadContext,
    /// Writes its inputs as this key of the context, and returns them.
    WriteContext(&'a str),
    /// Opens the artifact or file of its only input, `file`, and returns the content.
    OpenArtifact,
    /// Stores its inputs as an artifact, and returns the reference as `file`.
    StoreArtifact,
    /// Writes its inputs to the log, so many times, and returns them.
    Log(u32),
}

impl Behavior<'_> {
    /// The functions of the component, and the text that they use.
    fn body(self) -> String {
        let echo = "(call $ok (local.get $inputs) (local.get $inputs_bytes))";
        let grow = "(loop $more (br_if $more (i32.ne (i32.const -1) (memory.grow (i32.const 16)))))";
        let none = "";
        match self {
            Self::Echo => execute(none, echo),
            Self::EchoContext => execute(none, "(call $ok (local.get $context) (local.get $context_bytes))"),
            Self::Return(text) => {
                execute(&data(1024, text), &format!("(call $ok (i32.const 1024) (i32.const {}))", text.len()))
            }
            Self::Fail(code, message) => execute(
                &format!("{}{}", data(1024, code), data(2048, message)),
                &format!(
                    "(call $err (i32.const 1024) (i32.const {}) (i32.const 2048) (i32.const {}))",
                    code.len(),
                    message.len()
                ),
            ),
            Self::Trap => execute(none, "unreachable"),
            Self::Spin => execute(none, "(loop $again (br $again)) unreachable"),
            Self::FillMemory => execute(
                none,
                "(drop (memory.grow (i32.const 256))) (loop $again (memory.fill (i32.const 65536) (i32.const 1) \
                 (i32.const 16777216)) (br $again)) unreachable",
            ),
            Self::GrowAndTrap => execute(none, &format!("{grow} unreachable")),
            Self::GrowAndEcho => execute(none, &format!("{grow} {echo}")),
            Self::CallAgent(agent) => execute(
                &data(1024, agent),
                &format!(
                    "(call $call-agent (i32.const 1024) (i32.const {}) (local.get $inputs) (local.get $inputs_bytes) \
                     (i32.const 64)) (i32.const 64)",
                    agent.len()
                ),
            ),
            Self::ReadContext => execute(
                none,
                "(call $read-context (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 64)) (i32.const 64)",
            ),
            Self::WriteContext(key) => execute(
                &data(1024, key),
                &format!(
                    "(call $write-context (i32.const 1024) (i32.const {}) (local.get $inputs) (local.get $inputs_bytes) \
                     (i32.const 64)) (if (result i32) (i32.load8_u (i32.const 64)) (then (i32.const 64)) (else {echo}))",
                    key.len()
                ),
            ),
            Self::OpenArtifact => open_artifact(none),
            Self::StoreArtifact => store_artifact(),
            Self::Log(lines) => execute(
                none,
                &format!(
                    "(local $line i32) (loop $again (call $log (i32.const 1) (local.get $inputs) \
                     (local.get $inputs_bytes)) (local.set $line (i32.add (local.get $line) (i32.const 1))) \
                     (br_if $again (i32.lt_u (local.get $line) (i32.const {lines})))) {echo}"
                ),
            ),
        }
    }

    /// The component as text.
    #[must_use]
    pub fn text(self) -> String {
        FRAME.replace("$BODY", &self.body())
    }

    /// The component as bytes.
    ///
    /// # Errors
    /// If its text is not valid, which the tests show.
    pub fn component(self) -> Result<Vec<u8>, wat::Error> {
        wat::parse_str(self.text())
    }
}

/// Opens the file of the inputs, which are `{"file":` … `}`, and returns its content.
fn open_artifact(none: &str) -> String {
    execute(
        none,
        "(call $open-artifact (i32.add (local.get $inputs) (i32.const 8)) \
         (i32.sub (local.get $inputs_bytes) (i32.const 9)) (i32.const 64)) (if (result i32) \
         (i32.load8_u (i32.const 64)) (then (i32.const 64)) (else (call $ok (i32.load (i32.const 84)) \
         (i32.load (i32.const 88)))))",
    )
}

/// Stores the inputs, and returns the reference.
fn store_artifact() -> String {
    execute(
        &format!("{}{}{}", data(1024, "stored.json"), data(2048, "application/json"), data(3072, "{\"file\":")),
        "(call $store-artifact (i32.const 1024) (i32.const 11) (i32.const 2048) (i32.const 16) \
         (local.get $inputs) (local.get $inputs_bytes) (i32.const 64)) (if (result i32) \
         (i32.load8_u (i32.const 64)) (then (i32.const 64)) (else \
         (memory.copy (i32.const 3080) (i32.load (i32.const 68)) (i32.load (i32.const 72))) \
         (i32.store8 offset=3080 (i32.load (i32.const 72)) (i32.const 125)) \
         (call $ok (i32.const 3072) (i32.add (i32.const 9) (i32.load (i32.const 72))))))",
    )
}

/// A component from any text.
///
/// # Errors
/// If the text is not valid.
pub fn component_from_text(text: &str) -> Result<Vec<u8>, wat::Error> {
    wat::parse_str(text)
}

/// Data segments, and the function `execute` with this code.
fn execute(segments: &str, code: &str) -> String {
    format!("{segments} (func {SIGNATURE} {code})")
}

/// A data segment with this text.
fn data(address: u32, text: &str) -> String {
    let bytes: String = text.bytes().map(|byte| format!("\\{byte:02x}")).collect();
    format!("(data (i32.const {address}) \"{bytes}\")")
}
