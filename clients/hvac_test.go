package clients

import (
	"os"
	"os/exec"
	"testing"
)

// hvacKeyValues reads and writes key/values of both versions as Python programs do, and calls what hvac has for transit.
const hvacKeyValues = `
import base64, os, hvac

client = hvac.Client(url=os.environ["ADDR"], token=os.environ["TOKEN"])

def refused(kind, call, *args, **kwargs):
    try:
        got = call(*args, **kwargs)
    except kind as e:
        return e
    raise AssertionError("not refused: %r" % (got,))

# The bare calls, on version 2 with its paths written out.
client.write("secret/data/plain", data={"value": "v"})
assert client.read("secret/data/plain")["data"]["data"]["value"] == "v"
# The bare calls, on version 1.
client.write("old/plain", value="v", ttl="90s")
got = client.read("old/plain")
assert got["data"]["value"] == "v" and got["lease_duration"] == 90, got
assert client.list("old/")["data"]["keys"] == ["plain"]
client.delete("old/plain")
assert client.read("old/plain") is None

v1 = client.secrets.kv.v1
v1.create_or_update_secret("team/app", {"a": "1"}, mount_point="old")
assert v1.read_secret("team/app", mount_point="old")["data"] == {"a": "1"}
v1.create_or_update_secret("team/app", {"a": "2"}, method="PUT", mount_point="old")
assert v1.read_secret("team/app", mount_point="old")["data"] == {"a": "2"}
assert v1.list_secrets("team", mount_point="old")["data"]["keys"] == ["app"]
v1.delete_secret("team/app", mount_point="old")
refused(hvac.exceptions.InvalidPath, v1.read_secret, "team/app", mount_point="old")

v2 = client.secrets.kv.v2
v2.configure(max_versions=5, mount_point="secret")
assert v2.read_configuration(mount_point="secret")["data"]["max_versions"] == 5
assert v2.create_or_update_secret("team/app", {"a": "1"}, cas=0)["data"]["version"] == 1
refused(hvac.exceptions.InvalidRequest, v2.create_or_update_secret, "team/app", {"a": "x"}, cas=0)
assert v2.patch("team/app", {"b": "2"})["data"]["version"] == 2
assert v2.read_secret_version("team/app")["data"]["data"] == {"a": "1", "b": "2"}
assert v2.read_secret_version("team/app", version=1)["data"]["data"] == {"a": "1"}
v2.update_metadata("team/app", max_versions=3, cas_required=False, delete_version_after="10h")
client.write("secret/metadata/team/app", custom_metadata={"owner": "team"}) # Debian's hvac has no word for it
about = v2.read_secret_metadata("team/app")["data"]
assert about["current_version"] == 2 and about["custom_metadata"] == {"owner": "team"}, about
assert about["max_versions"] == 3 and about["delete_version_after"] == "10h0m0s", about
v2.delete_latest_version_of_secret("team/app")
refused(hvac.exceptions.InvalidPath, v2.read_secret_version, "team/app")
v2.undelete_secret_versions("team/app", versions=[2])
assert v2.read_secret_version("team/app")["data"]["data"] == {"a": "1", "b": "2"}
v2.delete_secret_versions("team/app", versions=[1])
v2.destroy_secret_versions("team/app", versions=[1])
assert v2.read_secret_metadata("team/app")["data"]["versions"]["1"]["destroyed"] is True
assert v2.list_secrets("team")["data"]["keys"] == ["app"]
v2.delete_metadata_and_all_versions("team/app")
refused(hvac.exceptions.InvalidPath, v2.read_secret_metadata, "team/app")

transit = client.secrets.transit
text = base64.b64encode(b"the words").decode()
transit.create_key("data")
assert transit.read_key("data")["data"]["type"] == "aes256-gcm96"
first = transit.encrypt_data("data", plaintext=text)["data"]["ciphertext"]
transit.rotate_key("data")
second = transit.rewrap_data("data", ciphertext=first)["data"]["ciphertext"]
assert first.startswith("vault:v1:") and second.startswith("vault:v2:"), (first, second)
assert transit.decrypt_data("data", ciphertext=second)["data"]["plaintext"] == text
batch = client.write("transit/encrypt/data", batch_input=[{"plaintext": text}, {"plaintext": text}])["data"]["batch_results"]
assert len(batch) == 2 and batch[0]["ciphertext"] != batch[1]["ciphertext"]
transit.update_key_configuration("data", min_decryption_version=2, deletion_allowed=True)
refused(hvac.exceptions.InvalidRequest, transit.decrypt_data, "data", ciphertext=first)
assert len(base64.b64decode(transit.generate_data_key("data", "plaintext")["data"]["plaintext"])) == 32
transit.create_key("signer", key_type="ecdsa-p256", exportable=True)
signature = transit.sign_data("signer", hash_input=text)["data"]["signature"]
assert transit.verify_signed_data("signer", hash_input=text, signature=signature)["data"]["valid"] is True
mac = transit.generate_hmac("signer", hash_input=text)["data"]["hmac"]
assert transit.verify_signed_data("signer", hash_input=text, hmac=mac)["data"]["valid"] is True
assert "EC PRIVATE KEY" in transit.export_key("signer", key_type="signing-key")["data"]["keys"]["1"]
assert len(transit.hash_data(hash_input=text, algorithm="sha2-256")["data"]["sum"]) == 64
assert len(base64.b64decode(transit.generate_random_bytes(n_bytes=16)["data"]["random_bytes"])) == 16
assert sorted(transit.list_keys()["data"]["keys"]) == ["data", "signer"]
transit.delete_key("data")
refused(hvac.exceptions.InvalidPath, transit.read_key, "data")
`

// TestHvacKeyValuesAndTransit runs them with Debian's python3-hvac.
func TestHvacKeyValuesAndTransit(t *testing.T) {
	t.Parallel()
	srv := safe(t)
	cmd := exec.Command("/usr/bin/python3", "-c", hvacKeyValues)
	cmd.Env = append(os.Environ(), "ADDR="+srv.URL(), "TOKEN="+srv.RootToken)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("hvac: %v (Debian package python3-hvac)\n%s", err, out)
	}
}
