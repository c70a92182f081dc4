package transit

import "leasehold/engine"

// routes are the engine's paths.
func (e *Engine) routes() *engine.Router {
	message := engine.Schema{
		"name": engine.Text, "plaintext": engine.Text, "ciphertext": engine.Text, "context": engine.Text, "associated_data": engine.Text,
		"key_version": engine.Int, "batch_input": engine.Any, "partial_failure_response_code": engine.Int, "reference": engine.Text,
		"type": engine.Text, "convergent_encryption": engine.Bool,
	}
	named := engine.Schema{"name": engine.Text}
	return engine.NewRouter(
		&engine.Path{
			Pattern: "encrypt/:name", Fields: message, Exists: e.keyExists, Help: "Encrypt with a key, which is created when there is none.",
			Ops: engine.Ops{engine.Update: e.encrypt},
		},
		&engine.Path{
			Pattern: "decrypt/:name", Fields: message, Help: "Decrypt what a key has encrypted.",
			Ops: engine.Ops{engine.Update: e.decrypt},
		},
		&engine.Path{
			Pattern: "rewrap/:name", Fields: message, Help: "Encrypt anew with the newest version of a key; the plaintext is not shown.",
			Ops: engine.Ops{engine.Update: e.rewrap},
		},
		&engine.Path{
			Pattern: "keys", Fields: engine.Schema{"after": engine.Text, "limit": engine.Int}, Help: "List the names of keys.",
			Ops: engine.Ops{engine.List: e.listKeys},
		},
		&engine.Path{
			Pattern: "keys/:name", Help: "Create, read or delete a key.",
			Fields: engine.Schema{
				"name": engine.Text, "type": engine.Text, "derived": engine.Bool, "convergent_encryption": engine.Bool,
				"exportable": engine.Bool, "allow_plaintext_backup": engine.Bool, "auto_rotate_period": engine.Duration,
				"key_size": engine.Int, "context": engine.Text,
			},
			Ops: engine.Ops{engine.Read: e.showKey, engine.Update: e.createKey, engine.Delete: e.deleteKey},
		},
		&engine.Path{
			Pattern: "keys/:name/config", Help: "Change what a key allows.",
			Fields: engine.Schema{
				"name": engine.Text, "min_decryption_version": engine.Int, "min_encryption_version": engine.Int,
				"deletion_allowed": engine.Bool, "exportable": engine.Bool, "allow_plaintext_backup": engine.Bool,
				"auto_rotate_period": engine.Duration,
			},
			Ops: engine.Ops{engine.Update: e.configure},
		},
		&engine.Path{
			Pattern: "keys/:name/rotate", Fields: named, Help: "Make a new version of a key.",
			Ops: engine.Ops{engine.Update: e.rotate},
		},
		&engine.Path{
			Pattern: "keys/:name/trim", Help: "Erase old versions of a key for good.",
			Fields: engine.Schema{"name": engine.Text, "min_available_version": engine.Int},
			Ops:    engine.Ops{engine.Update: e.trim},
		},
		&engine.Path{
			Pattern: "keys/:name/soft-delete", Fields: named, Help: "Take a key out of use.",
			Ops: engine.Ops{engine.Delete: e.setSoftDeleted(true)},
		},
		&engine.Path{
			Pattern: "keys/:name/soft-delete-restore", Fields: named, Help: "Bring a key back into use.",
			Ops: engine.Ops{engine.Update: e.setSoftDeleted(false)},
		},
		&engine.Path{
			Pattern: "config/keys", Fields: engine.Schema{"disable_upsert": engine.Bool}, Help: "Read or change what holds for all keys.",
			Ops: engine.Ops{engine.Read: e.readKeysConfig, engine.Update: e.writeKeysConfig},
		},
		&engine.Path{
			Pattern: "cache-config", Fields: engine.Schema{"size": engine.Int}, Help: "Read or change how many opened keys are kept in memory.",
			Ops: engine.Ops{engine.Read: e.readCacheConfig, engine.Update: e.writeCacheConfig},
		},
	)
}
