//! The calls about missions, satellites, stations, elements and passes.

use std::time::Duration;

use bytes::Bytes;
use reqwest::{Method, header};
use tetryx_protocol::api::{
    MissionInfo, MissionList, PassList, PassesQuery, PutMissionRequest, PutSatelliteRequest,
    PutStationRequest, RefreshResponse, SatelliteDetails, SatelliteInfo, SatelliteList, StationInfo,
    StationList,
};
use tetryx_protocol::ground::{Expected, Maintenance, MissionName, SatelliteName, StationName};
use tetryx_protocol::time::UtcTime;

use super::client::{Client, Repeat, read_json};
use super::error::ClientError;

type Result<T, E = ClientError> = std::result::Result<T, E>;

impl Client {
    pub(crate) async fn missions(&self) -> Result<MissionList> {
        self.get("/missions").await
    }

    pub(crate) async fn mission(&self, name: &MissionName) -> Result<MissionInfo> {
        self.get(&format!("/missions/{}", encoded(name.as_str()))).await
    }

    /// Harmless to repeat, as all that is registered is: what is there already stays as it is.
    pub(crate) async fn put_mission(
        &self,
        name: &MissionName,
        expected: Expected,
        request: &PutMissionRequest,
    ) -> Result<MissionInfo> {
        let path = format!("/missions/{}{}", encoded(name.as_str()), query(expected));
        self.with_json(Method::PUT, &path, request, Repeat::Harmless)
            .await
    }

    pub(crate) async fn remove_mission(&self, name: &MissionName) -> Result<()> {
        let path = format!("/missions/{}", encoded(name.as_str()));
        self.bare(Method::DELETE, &path, Repeat::OnlyIfUnsent).await
    }

    pub(crate) async fn satellites(&self) -> Result<SatelliteList> {
        self.get("/satellites").await
    }

    pub(crate) async fn satellite(&self, name: &SatelliteName) -> Result<SatelliteDetails> {
        self.get(&format!("/satellites/{}", encoded(name.as_str()))).await
    }

    pub(crate) async fn put_satellite(
        &self,
        name: &SatelliteName,
        expected: Expected,
        request: &PutSatelliteRequest,
    ) -> Result<SatelliteInfo> {
        let path = format!("/satellites/{}{}", encoded(name.as_str()), query(expected));
        self.with_json(Method::PUT, &path, request, Repeat::Harmless)
            .await
    }

    pub(crate) async fn remove_satellite(&self, name: &SatelliteName) -> Result<()> {
        let path = format!("/satellites/{}", encoded(name.as_str()));
        self.bare(Method::DELETE, &path, Repeat::OnlyIfUnsent).await
    }

    pub(crate) async fn stations(&self) -> Result<StationList> {
        self.get("/stations").await
    }

    pub(crate) async fn station(&self, name: &StationName) -> Result<StationInfo> {
        self.get(&format!("/stations/{}", encoded(name.as_str()))).await
    }

    pub(crate) async fn put_station(
        &self,
        name: &StationName,
        expected: Expected,
        request: &PutStationRequest,
    ) -> Result<StationInfo> {
        let path = format!("/stations/{}{}", encoded(name.as_str()), query(expected));
        self.with_json(Method::PUT, &path, request, Repeat::Harmless)
            .await
    }

    pub(crate) async fn remove_station(&self, name: &StationName) -> Result<()> {
        let path = format!("/stations/{}", encoded(name.as_str()));
        self.bare(Method::DELETE, &path, Repeat::OnlyIfUnsent).await
    }

    pub(crate) async fn put_maintenance(
        &self,
        name: &StationName,
        maintenance: &Maintenance,
    ) -> Result<StationInfo> {
        let path = format!("/stations/{}/maintenance", encoded(name.as_str()));
        self.with_json(Method::PUT, &path, maintenance, Repeat::Harmless)
            .await
    }

    pub(crate) async fn remove_maintenance(&self, name: &StationName, from: UtcTime) -> Result<StationInfo> {
        let path = format!("/stations/{}/maintenance?from={from}", encoded(name.as_str()));
        let send = || async { read_json(self.send(self.request(Method::DELETE, &path)).await?).await };
        self.retried(Repeat::OnlyIfUnsent, send).await
    }

    /// Harmless to repeat: what was added is unchanged the second time.
    pub(crate) async fn refresh_elements(&self, text: Vec<u8>) -> Result<RefreshResponse> {
        let text = Bytes::from(text);
        let send = || async {
            let request = self
                .request(Method::POST, "/elements")
                .header(header::CONTENT_TYPE, "text/plain");
            read_json(self.send(request.body(text.clone())).await?).await
        };
        self.retried(Repeat::Harmless, send).await
    }

    pub(crate) async fn passes(&self, query: &PassesQuery) -> Result<PassList> {
        let mut words = Vec::new();
        if let Some(satellite) = &query.satellite {
            words.push(format!("satellite={}", encoded(satellite.as_str())));
        }
        if let Some(station) = &query.station {
            words.push(format!("station={}", encoded(station.as_str())));
        }
        words.extend(query.from.map(|from| format!("from={from}")));
        words.extend(query.hours.map(|hours| format!("hours={hours}")));
        words.extend(
            query
                .min_elevation
                .map(|elevation| format!("min_elevation={elevation}")),
        );
        self.get(&format!("/passes?{}", words.join("&"))).await
    }
}

fn query(expected: Expected) -> &'static str {
    match expected {
        Expected::Either => "",
        Expected::New => "?expected=new",
        Expected::Existing => "?expected=existing",
    }
}

/// A name in a URL. Of the characters of names, only these mean something there.
fn encoded(name: &str) -> String {
    name.replace(' ', "%20").replace('+', "%2B")
}

/// What stands at an address that somebody else serves. The token stays here; redirects are followed.
///
/// # Errors
/// When nothing answers, or something else than a success.
pub(crate) async fn fetch(url: &str) -> Result<Vec<u8>> {
    let failed = |error: reqwest::Error| ClientError::Fetch {
        url: url.to_owned(),
        why: super::error::innermost(&error),
    };
    let builder = || {
        reqwest::Client::builder()
            .user_agent(concat!("tetryx-cli/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_secs(10))
            .read_timeout(Duration::from_secs(60))
    };
    let http = builder()
        .build()
        // A machine without certificates can still read from a plain http server.
        .or_else(|error| {
            if url.starts_with("http://") {
                builder().tls_certs_only([]).build()
            } else {
                Err(error)
            }
        })
        .map_err(failed)?;
    let response = http.get(url).send().await.map_err(failed)?;
    let response = response.error_for_status().map_err(failed)?;
    Ok(response.bytes().await.map_err(failed)?.to_vec())
}
