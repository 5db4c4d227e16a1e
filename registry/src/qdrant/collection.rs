//! The collection of an embedder: its name, its vectors and its indexes, and whether one that exists fits.

use ::qdrant_client::qdrant::payload_index_params::IndexParams;
use ::qdrant_client::qdrant::vectors_config::Config;
use ::qdrant_client::qdrant::{
    CollectionInfo, CreateCollection, CreateFieldIndexCollection, Distance, FieldType, IntegerIndexParams,
    KeywordIndexParams, PayloadIndexParams, VectorParams, VectorsConfig,
};
use greenroom_protocol::ContentHash;

use super::DISTANCE;
use super::error::QdrantError;
use super::points::field;
use crate::agent_memory::embedder::EmbedderId;

/// Characters of an embedder's id in the name of its collection. The name has a part of the hash of the whole id too.
const SLUG_CHARS_MAX: usize = 64;
/// Digits of the hash of an embedder's id in the name of its collection.
const HASH_CHARS: usize = 8;

/// The fields by which memories are selected, and the kinds of their indexes.
const INDEXED_FIELDS: [(&str, FieldType); 7] = [
    (field::TENANT, FieldType::Keyword),
    (field::AGENT, FieldType::Keyword),
    (field::EMBEDDER, FieldType::Keyword),
    (field::USER, FieldType::Keyword),
    (field::SOURCE, FieldType::Keyword),
    (field::AT, FieldType::Integer),
    (field::EXPIRES_AT, FieldType::Integer),
];

/// The collection of an embedder.
#[derive(Debug, Clone)]
pub(super) struct Collection {
    pub(super) name: String,
    pub(super) embedder: EmbedderId,
    /// What the names of all collections of memories begin with.
    pub(super) family: String,
    dimensions: u64,
}

impl Collection {
    pub(super) fn new(prefix: &str, embedder: EmbedderId, dimensions: usize) -> Self {
        let family = format!("{prefix}-memories-");
        let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
        let slug: String = embedder.as_str().chars().map(plain).take(SLUG_CHARS_MAX).collect();
        let hash = ContentHash::from_content(embedder.as_str().as_bytes()).to_string();
        let hash: String = hash.chars().take(HASH_CHARS).collect();
        let name = format!("{family}{slug}-{hash}");
        Self { name, embedder, family, dimensions: u64::try_from(dimensions).unwrap_or(u64::MAX) }
    }

    /// The request that creates it.
    pub(super) fn creation(&self) -> CreateCollection {
        let params = VectorParams { size: self.dimensions, distance: DISTANCE.into(), ..VectorParams::default() };
        CreateCollection {
            collection_name: self.name.clone(),
            vectors_config: Some(VectorsConfig { config: Some(Config::Params(params)) }),
            ..CreateCollection::default()
        }
    }

    /// The requests that create its indexes. One that exists is created once more without an effect.
    pub(super) fn indexes(&self) -> impl Iterator<Item = CreateFieldIndexCollection> + '_ {
        INDEXED_FIELDS.iter().map(|(name, kind)| CreateFieldIndexCollection {
            collection_name: self.name.clone(),
            wait: Some(true),
            field_name: (*name).to_owned(),
            field_type: Some((*kind).into()),
            field_index_params: index_params(name, *kind),
            ..CreateFieldIndexCollection::default()
        })
    }

    /// Checks that the collection that exists has the dimensions and the distance of the vectors.
    pub(super) fn check(&self, info: &CollectionInfo) -> Result<(), QdrantError> {
        let config = info.config.as_ref().and_then(|config| config.params.as_ref());
        let vectors = config.and_then(|params| params.vectors_config.as_ref()?.config.as_ref());
        let name = &self.name;
        let Some(Config::Params(found)) = vectors else {
            return Err(QdrantError::Incompatible(format!("{name} has not exactly one unnamed vector for each point")));
        };
        if found.size != self.dimensions {
            let (found, expected) = (found.size, self.dimensions);
            let problem =
                format!("{name} has vectors of {found} dimensions, and those of {} have {expected}", self.embedder);
            return Err(QdrantError::Incompatible(problem));
        }
        if found.distance != i32::from(DISTANCE) {
            let distance =
                Distance::try_from(found.distance).map_or("an unknown one", |distance| distance.as_str_name());
            return Err(QdrantError::Incompatible(format!(
                "{name} has the distance {distance}, and {} is needed",
                DISTANCE.as_str_name()
            )));
        }
        Ok(())
    }
}

/// What an index is good for: that of tenants stores the points of each together.
fn index_params(name: &str, kind: FieldType) -> Option<PayloadIndexParams> {
    let params = match kind {
        FieldType::Integer => IndexParams::IntegerIndexParams(IntegerIndexParams {
            lookup: Some(false),
            range: Some(true),
            ..IntegerIndexParams::default()
        }),
        FieldType::Keyword
        | FieldType::Float
        | FieldType::Geo
        | FieldType::Text
        | FieldType::Bool
        | FieldType::Datetime
        | FieldType::Uuid => IndexParams::KeywordIndexParams(KeywordIndexParams {
            is_tenant: Some(name == field::TENANT),
            ..KeywordIndexParams::default()
        }),
    };
    Some(PayloadIndexParams { index_params: Some(params) })
}

#[cfg(test)]
mod tests {
    use ::qdrant_client::qdrant::{CollectionConfig, CollectionParams, VectorParamsMap};

    use super::*;

    fn collection(model: &str, dimensions: usize) -> Collection {
        Collection::new("greenroom", EmbedderId::new("openai", model, dimensions).unwrap(), dimensions)
    }

    fn info(config: Option<Config>) -> CollectionInfo {
        let params = CollectionParams { vectors_config: Some(VectorsConfig { config }), ..CollectionParams::default() };
        let config = CollectionConfig { params: Some(params), ..CollectionConfig::default() };
        CollectionInfo { config: Some(config), ..CollectionInfo::default() }
    }

    #[test]
    fn each_embedder_and_each_dimension_has_a_collection_of_its_own() {
        let names = [
            collection("small", 8).name,
            collection("small", 16).name,
            collection("SMALL", 8).name,
            collection(&"x".repeat(150), 8).name,
            collection(&format!("{}y", "x".repeat(149)), 8).name,
        ];
        assert!(names[0].starts_with("greenroom-memories-openai-small-8-"), "{}", names[0]);
        let distinct: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(distinct.len(), names.len(), "{names:?}");
        let is_plain = |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        assert!(names.iter().all(|name| is_plain(name) && name.len() < 128));
    }

    #[test]
    fn a_collection_of_another_shape_is_refused_with_what_was_found_and_what_is_needed() {
        let collection = collection("small", 8);
        let params = |size, distance: Distance| {
            info(Some(Config::Params(VectorParams { size, distance: distance.into(), ..VectorParams::default() })))
        };
        collection.check(&params(8, Distance::Dot)).unwrap();
        for (found, text) in [
            (params(9, Distance::Dot), "vectors of 9 dimensions, and those of openai:small:8 have 8"),
            (params(8, Distance::Euclid), "the distance Euclid, and Dot is needed"),
            (info(Some(Config::ParamsMap(VectorParamsMap::default()))), "exactly one unnamed vector"),
            (info(None), "exactly one unnamed vector"),
            (CollectionInfo::default(), "exactly one unnamed vector"),
        ] {
            let error = collection.check(&found).unwrap_err();
            assert!(matches!(&error, QdrantError::Incompatible(problem) if problem.contains(text)), "{error}");
            assert!(error.is_misconfiguration());
        }
    }
}
