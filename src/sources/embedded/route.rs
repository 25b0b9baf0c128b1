//! Which of Elasticsearch's calls a request is. Pure.

use axum::http::Method;

use super::bulk::Verb;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    /// Who are you?
    Info,
    /// Several documents.
    Bulk {
        /// The index in the path.
        index: Option<String>,
    },
    /// One document.
    Document {
        /// Add it, or add it only if it is new: the same here.
        verb: Verb,
        /// The index in the path.
        index: String,
        /// The id in the path.
        id: Option<String>,
    },
    /// What licence?
    License,
    /// Which features?
    Features,
    /// Are you well?
    Health,
    /// Make what was written visible: it is.
    Refresh,
    /// Is there such an index? It is made when written to, so the answer is yes.
    Exists,
    /// Set something up (templates, pipelines, lifecycles, indices): taken and forgotten, as the store needs none.
    Setup,
    /// Read something that would have been set up: there is none.
    Missing,
    /// Searches.
    Search,
    /// Anything else.
    Unknown,
}

/// Calls under which shippers keep what they set up.
const SETUP: [&str; 11] = [
    "_index_template",
    "_template",
    "_component_template",
    "_ilm",
    "_ingest",
    "_data_stream",
    "_alias",
    "_aliases",
    "_security",
    "_slm",
    "_transform",
];
/// Calls that read documents.
const SEARCH: [&str; 8] =
    ["_search", "_msearch", "_count", "_query", "_mget", "_field_caps", "_sql", "_pit"];

/// Finds the call. Empty segments (`/_bulk/`, `//`) are passed over.
pub(super) fn route(method: &Method, path: &str) -> Route {
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let reads = matches!(*method, Method::GET | Method::HEAD);
    let writes = matches!(*method, Method::POST | Method::PUT);
    match segments.as_slice() {
        [] if reads => Route::Info,
        ["_bulk"] if writes => Route::Bulk { index: None },
        [index, "_bulk"] | [index, "_doc", "_bulk"] if writes => {
            Route::Bulk { index: Some((*index).to_owned()) }
        }
        [index, call @ ("_doc" | "_create"), rest @ ..] if writes && rest.len() < 2 => {
            Route::Document {
                verb: if *call == "_create" { Verb::Create } else { Verb::Index },
                index: (*index).to_owned(),
                id: rest.first().map(|id| (*id).to_owned()),
            }
        }
        ["_license"] if reads => Route::License,
        ["_xpack"] if reads => Route::Features,
        ["_cluster", "health", ..] | ["_cat", "health"] if reads => Route::Health,
        ["_refresh" | "_flush"] | [_, "_refresh" | "_flush"] if reads || writes => Route::Refresh,
        [first, ..] if SETUP.contains(first) => setup(reads),
        [.., last] if SEARCH.contains(last) => Route::Search,
        [index] if !index.starts_with('_') => {
            if reads {
                Route::Exists
            } else {
                setup(false)
            }
        }
        [index, "_mapping" | "_settings" | "_alias", ..] if !index.starts_with('_') => setup(reads),
        _ => Route::Unknown,
    }
}

fn setup(reads: bool) -> Route {
    if reads { Route::Missing } else { Route::Setup }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_told_apart() {
        let bulk = |index: Option<&str>| Route::Bulk { index: index.map(str::to_owned) };
        let document = |verb, id: Option<&str>| Route::Document {
            verb,
            index: "logs".to_owned(),
            id: id.map(str::to_owned),
        };
        let cases = [
            (Method::GET, "/", Route::Info),
            (Method::HEAD, "/", Route::Info),
            (Method::DELETE, "/", Route::Unknown),
            (Method::POST, "/_bulk", bulk(None)),
            (Method::PUT, "/_bulk/", bulk(None)),
            (Method::GET, "/_bulk", Route::Unknown),
            (Method::POST, "/logs/_bulk", bulk(Some("logs"))),
            (Method::POST, "/logs/_doc", document(Verb::Index, None)),
            (Method::PUT, "/logs/_create/7", document(Verb::Create, Some("7"))),
            (Method::GET, "/logs/_doc/7", Route::Unknown),
            (Method::GET, "/_license", Route::License),
            (Method::GET, "/_cluster/health", Route::Health),
            (Method::HEAD, "/logs", Route::Exists),
            (Method::PUT, "/logs", Route::Setup),
            (Method::PUT, "/_index_template/filebeat", Route::Setup),
            (Method::GET, "/_ilm/policy/filebeat", Route::Missing),
            (Method::POST, "/logs/_search", Route::Search),
            (Method::POST, "/logs/_refresh", Route::Refresh),
            (Method::POST, "/_nodes/reload", Route::Unknown),
        ];
        for (method, path, expected) in cases {
            assert_eq!(route(&method, path), expected, "{method} {path}");
        }
    }
}
