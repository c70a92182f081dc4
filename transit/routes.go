package transit

import "leasehold/engine"

// routes are the engine's paths.
func (e *Engine) routes() *engine.Router {
	message := engine.Schema{
		"name": engine.Text, "plaintext": engine.Text, "ciphertext": engine.Text, "context": engine.Text, "associated_data": engine.Text,
		"key_version": engine.Int, "batch_input": engine.Any, "partial_failure_response_code": engine.Int, "reference": engine.Text,
		"type": engine.Text, "convergent_encryption": engine.Bool,
	}
	signed := engine.Schema{
		"name": engine.Text, "path_algorithm": engine.Text, "hash_algorithm": engine.Text, "algorithm": engine.Text, "input": engine.Text,
		"signature": engine.Text, "hmac": engine.Text, "context": engine.Text, "key_version": engine.Int, "prehashed": engine.Bool,
		"signature_algorithm": engine.Text, "marshaling_algorithm": engine.Text, "salt_length": engine.Text, "batch_input": engine.Any,
		"reference": engine.Text,
	}
	hashed := engine.Schema{"path_algorithm": engine.Text, "algorithm": engine.Text, "input": engine.Text, "format": engine.Text}
	chance := engine.Schema{
		"path_source": engine.Text, "path_bytes": engine.Text, "source": engine.Text, "bytes": engine.Int, "format": engine.Text,
	}
	exported := engine.Schema{"export_type": engine.Text, "name": engine.Text, "version": engine.Text, "format": engine.Text}
	wrapped := engine.Schema{"destination": engine.Text, "source": engine.Text, "version": engine.Text, "hash": engine.Text}
	saved := engine.Schema{"name": engine.Text, "backup": engine.Text, "force": engine.Bool}
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
				"exportable": engine.Bool, "allow_plaintext_backup": engine.Bool, "auto_rotate_period": engine.Duration, "auto_rotate_schedule": engine.Text,
				"key_size": engine.Int, "parameter_set": engine.Text, "context": engine.Text,
			},
			Ops: engine.Ops{engine.Read: e.showKey, engine.Update: e.createKey, engine.Delete: e.deleteKey},
		},
		&engine.Path{
			Pattern: "keys/:name/config", Help: "Change what a key allows.",
			Fields: engine.Schema{
				"name": engine.Text, "min_decryption_version": engine.Int, "min_encryption_version": engine.Int,
				"deletion_allowed": engine.Bool, "exportable": engine.Bool, "allow_plaintext_backup": engine.Bool,
				"auto_rotate_period": engine.Duration, "auto_rotate_schedule": engine.Text,
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
			Pattern: "keys/:name/import", Help: "Make a key of material from elsewhere, wrapped with the wrapping key.",
			Fields: engine.Schema{
				"name": engine.Text, "type": engine.Text, "parameter_set": engine.Text, "ciphertext": engine.Text, "public_key": engine.Text, "hash_function": engine.Text,
				"derived": engine.Bool, "exportable": engine.Bool, "allow_plaintext_backup": engine.Bool, "allow_rotation": engine.Bool,
				"auto_rotate_period": engine.Duration, "auto_rotate_schedule": engine.Text, "context": engine.Text,
			},
			Ops: engine.Ops{engine.Update: e.importKey},
		},
		&engine.Path{
			Pattern: "keys/:name/import_version", Help: "Add a version from elsewhere to an imported key.",
			Fields: engine.Schema{
				"name": engine.Text, "ciphertext": engine.Text, "public_key": engine.Text, "hash_function": engine.Text, "version": engine.Int,
			},
			Ops: engine.Ops{engine.Update: e.importVersion},
		},
		&engine.Path{
			Pattern: "keys/:name/csr", Help: "Make a certificate signing request for a key.",
			Fields: engine.Schema{"name": engine.Text, "version": engine.Int, "csr": engine.Text},
			Ops:    engine.Ops{engine.Update: e.requestCertificate},
		},
		&engine.Path{
			Pattern: "keys/:name/set-certificate", Help: "Store the certificate chain of a key.",
			Fields: engine.Schema{"name": engine.Text, "version": engine.Int, "certificate_chain": engine.Text},
			Ops:    engine.Ops{engine.Update: e.setCertificate},
		},
		&engine.Path{
			Pattern: "datakey/:form/:name", Help: "Make a random key, encrypted, and with \"plaintext\" also in clear.",
			Fields: engine.Schema{
				"form": engine.Text, "name": engine.Text, "bits": engine.Int, "context": engine.Text, "associated_data": engine.Text,
				"key_version": engine.Int,
			},
			Ops: engine.Ops{engine.Update: e.dataKey},
		},
		&engine.Path{
			Pattern: "sign/:name", Fields: signed, Help: "Sign with a key.", Ops: engine.Ops{engine.Update: e.sign},
		},
		&engine.Path{
			Pattern: "sign/:name/:path_algorithm", Fields: signed, Help: "Sign with a key and a hash.", Ops: engine.Ops{engine.Update: e.sign},
		},
		&engine.Path{
			Pattern: "verify/:name", Fields: signed, Help: "Check a signature or an HMAC.", Ops: engine.Ops{engine.Update: e.verify},
		},
		&engine.Path{
			Pattern: "verify/:name/:path_algorithm", Fields: signed, Help: "Check a signature or an HMAC with a hash.",
			Ops: engine.Ops{engine.Update: e.verify},
		},
		&engine.Path{
			Pattern: "hmac/:name", Fields: signed, Help: "Make an HMAC.", Ops: engine.Ops{engine.Update: e.makeHMAC},
		},
		&engine.Path{
			Pattern: "hmac/:name/:path_algorithm", Fields: signed, Help: "Make an HMAC with a hash.", Ops: engine.Ops{engine.Update: e.makeHMAC},
		},
		&engine.Path{
			Pattern: "hash", Fields: hashed, Help: "Make a digest.", Ops: engine.Ops{engine.Update: e.hashData},
		},
		&engine.Path{
			Pattern: "hash/:path_algorithm", Fields: hashed, Help: "Make a digest with a hash.", Ops: engine.Ops{engine.Update: e.hashData},
		},
		&engine.Path{
			Pattern: "random", Fields: chance, Help: "Make random bytes.", Ops: engine.Ops{engine.Update: e.random},
		},
		&engine.Path{
			Pattern: "random/:path_source", Fields: chance, Help: "Make random bytes of a source, or of a number.",
			Ops: engine.Ops{engine.Update: e.random},
		},
		&engine.Path{
			Pattern: "random/:path_source/:path_bytes", Fields: chance, Help: "Make a number of random bytes of a source.",
			Ops: engine.Ops{engine.Update: e.random},
		},
		&engine.Path{
			Pattern: "export/:export_type/:name", Fields: exported, Help: "Show key material, when the key allows it.",
			Ops: engine.Ops{engine.Read: e.exportKey},
		},
		&engine.Path{
			Pattern: "export/:export_type/:name/:version", Fields: exported, Help: "Show the material of one version, when the key allows it.",
			Ops: engine.Ops{engine.Read: e.exportKey},
		},
		&engine.Path{
			Pattern: "byok-export/:destination/:source", Fields: wrapped, Help: "Wrap a key for import elsewhere.",
			Ops: engine.Ops{engine.Read: e.exportWrapped},
		},
		&engine.Path{
			Pattern: "byok-export/:destination/:source/:version", Fields: wrapped, Help: "Wrap one version of a key for import elsewhere.",
			Ops: engine.Ops{engine.Read: e.exportWrapped},
		},
		&engine.Path{
			Pattern: "backup/:name", Fields: named, Help: "Show a key with all its versions in one text, when the key allows it.",
			Ops: engine.Ops{engine.Read: e.backupKey},
		},
		&engine.Path{
			Pattern: "restore", Fields: saved, Help: "Make a key of a backup.", Ops: engine.Ops{engine.Update: e.restore},
		},
		&engine.Path{
			Pattern: "restore/:name", Fields: saved, Help: "Make a key of a backup, under another name.",
			Ops: engine.Ops{engine.Update: e.restore},
		},
		&engine.Path{
			Pattern: "wrapping_key", Help: "Read the public key that imported keys are wrapped with.",
			Ops: engine.Ops{engine.Read: e.readWrappingKey},
		},
		&engine.Path{
			Pattern: "derive-key/:name", Help: "Make a symmetric key of a key here and a peer's public key.",
			Fields: engine.Schema{
				"name": engine.Text, "base_key_name": engine.Text, "base_key_version": engine.Int, "peer_public_key": engine.Text,
				"derived_key_type": engine.Text, "key_derivation_algorithm": engine.Text,
			},
			Ops: engine.Ops{engine.Update: e.agree},
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
