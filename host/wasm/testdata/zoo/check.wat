;; Has the host make the MAC of a MiB again and again: a handle allows 65 checks,
;; and there are 1,024 of them.
;; Attacks: fuel for host calls by their bytes.
(module
  (import "postern1" "signed_begin" (func $begin (param i32 i32) (result i32)))
  (import "postern1" "signed_bytes" (func $bytes (param i32 i32 i32) (result i32)))
  (import "postern1" "signed_check" (func $check (param i32 i32 i32 i32) (result i32)))
  ;;common
  (memory (export "memory") 17)
  (data (i32.const 512) "mac")
  (func $attack (param $left i64) (result i32)
    (local $signed i32)
    (loop $again
      (if (i32.ne (call $check (local.get $signed) (i32.const 0) (i32.const 2) (i32.const 0)) (i32.const -4))
        (then
          (local.set $signed (call $begin (i32.const 512) (i32.const 3)))
          (drop (call $bytes (local.get $signed) (i32.const 0) (i32.const 1048576)))))
      ;;again
    )
    (i32.const 4)))
