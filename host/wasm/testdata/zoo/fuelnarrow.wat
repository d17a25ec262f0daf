;; Exports an i32 global under the name of the meter's: a host that sets it by
;; name would set this one.
;; Attacks: the names of what the meter adds are its own.
(module
  ;;common
  (memory (export "memory") 1)
  (global $mine (export "postern.meter.fuel") (mut i32) (i32.const 0))
  (func $attack (param $left i64) (result i32)
    (loop $again
      (global.set $mine (i32.const 0x7fffffff))
      ;;again
    )
    (i32.const 4)))
