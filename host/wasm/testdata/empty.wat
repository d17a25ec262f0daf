;; A module, and no plugin.
(module (memory (export "ram") 1))
