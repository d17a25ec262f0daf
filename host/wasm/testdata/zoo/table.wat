;; Wants a table of 100,000,000 references: 800 MB in the host's heap, for 8
;; bytes of module.
;; Attacks: the cap of a table.
(module
  ;;common
  (memory (export "memory") 1)
  (table 100000000 funcref)
  (func $attack (param $left i64) (result i32) (i32.const 4)))
