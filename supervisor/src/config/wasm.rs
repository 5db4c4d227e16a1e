//! The section `runtimes.wasm`: where the WebAssembly components are, and what they may use.

use std::path::PathBuf;

use super::reader::ConfigReader;
use super::setting::Setting;

/// The settings.
pub const SETTINGS: &[Setting] = &[
    Setting::text(
        "runtimes.wasm.components",
        &["GREENROOM_WASM_COMPONENTS"],
        "directory of the components (`NAME.wasm`) that agents of the runtime `wasm` name; watched; without it, their calls \
         fail",
    ),
    Setting::number(
        "runtimes.wasm.memory_mib",
        &["GREENROOM_WASM_MEMORY_MIB"],
        "MiB of memory that all components which are executed at one moment may use together",
    )
    .or("2048"),
];

/// The components of this pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WasmConfig {
    /// Their directory.
    pub components: PathBuf,
    /// Memory of all executions together, in MiB.
    pub memory_mib: u32,
}

/// The configured components; `None` if there are none.
pub(super) fn read(reader: &mut ConfigReader<'_>) -> Option<WasmConfig> {
    let memory_mib: u32 = reader.get("runtimes.wasm.memory_mib").unwrap_or_default();
    if memory_mib == 0 {
        reader.report("runtimes.wasm.memory_mib: 0 MiB are too few for any component".to_owned());
    }
    let components = reader.get::<PathBuf>("runtimes.wasm.components").filter(|path| !path.as_os_str().is_empty())?;
    let components = std::path::absolute(&components).unwrap_or(components);
    Some(WasmConfig { components, memory_mib })
}

#[cfg(test)]
mod tests {
    use super::super::source::load;
    use super::super::{ConfigError, Flags, LoadedConfig};
    use super::*;

    fn loaded(pairs: &[(&str, &str)]) -> Result<LoadedConfig, ConfigError> {
        let environment = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        load(&Flags::default(), environment)
    }

    #[test]
    fn a_directory_of_components_is_absolute_and_needs_no_other_setting() {
        assert_eq!(loaded(&[]).unwrap().config.wasm, None);
        let wasm = loaded(&[("GREENROOM_WASM_COMPONENTS", "components")]).unwrap().config.wasm.unwrap();
        assert_eq!(wasm, WasmConfig { components: std::path::absolute("components").unwrap(), memory_mib: 2_048 });
        let wasm = [("GREENROOM_WASM_COMPONENTS", "/components"), ("GREENROOM_WASM_MEMORY_MIB", "512")];
        assert_eq!(loaded(&wasm).unwrap().config.wasm.unwrap().memory_mib, 512);
    }

    #[test]
    fn a_bound_of_no_memory_is_a_problem() {
        let problems = loaded(&[("GREENROOM_WASM_MEMORY_MIB", "0")]).unwrap_err().to_string();
        assert!(problems.contains("runtimes.wasm.memory_mib: 0 MiB"), "{problems}");
    }
}
