package mysql

import "testing"

func TestWithoutHash(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"GRANT USAGE ON *.* TO `v`@`%` IDENTIFIED BY PASSWORD '*CANARY'":                            "GRANT USAGE ON *.* TO `v`@`%`",
		"GRANT ALL PRIVILEGES ON *.* TO `v`@`%` IDENTIFIED VIA ed25519 USING 'c' WITH GRANT OPTION": "GRANT ALL PRIVILEGES ON *.* TO `v`@`%` WITH GRANT OPTION",
		"GRANT USAGE ON *.* TO 'v'@'%' IDENTIFIED BY PASSWORD '*C' REQUIRE SSL":                     "GRANT USAGE ON *.* TO 'v'@'%'",
		"GRANT SELECT ON `shop`.* TO `v`@`%` WITH GRANT OPTION":                                     "GRANT SELECT ON `shop`.* TO `v`@`%` WITH GRANT OPTION",
		"GRANT `app`@`%` TO `v`@`%`":                                                                "GRANT `app`@`%` TO `v`@`%`",
	} {
		if got := withoutHash(line); got != want {
			t.Errorf("%s: got %s, want %s", line, got, want)
		}
	}
}
