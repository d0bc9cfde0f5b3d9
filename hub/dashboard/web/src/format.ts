/** Numbers and times as people read them. */

const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 })

export function count(n: number): string {
  return whole.format(n)
}

export function rate(n: number): string {
  return n >= 10 || n === 0 ? whole.format(n) : n.toFixed(1)
}

/** 0.042 → "42 ms", 3.2 → "3.2 s", 75 → "1m 15s", 7300 → "2h 1m". */
export function duration(seconds: number): string {
  if (!Number.isFinite(seconds) || seconds < 0) return '–'
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`
  const s = Math.floor(seconds)
  if (s < 3600) return `${Math.floor(s / 60)}m ${s % 60}s`
  if (s < 86400) return `${Math.floor(s / 3600)}h ${Math.floor((s % 3600) / 60)}m`
  return `${Math.floor(s / 86400)}d ${Math.floor((s % 86400) / 3600)}h`
}

/** An uptime or age that is looked at from afar: no fractions. */
export function age(seconds: number): string {
  return seconds < 60 ? `${Math.max(0, Math.floor(seconds))}s` : duration(seconds)
}

export function bytes(n: number): string {
  if (n < 1000) return `${n} B`
  if (n < 1_000_000) return `${(n / 1024).toFixed(1)} KB`
  if (n < 1 << 30) return `${(n / (1 << 20)).toFixed(1)} MB`
  return `${(n / (1 << 30)).toFixed(0)} GB`
}

const clock = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' })
const day = new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit' })

export function time(at: number): string {
  return clock.format(at * 1000)
}

export function timeMs(at: number): string {
  return `${clock.format(at * 1000)}.${String(Math.floor((at * 1000) % 1000)).padStart(3, '0')}`
}

/** The time today, with the date before that. */
export function when(at: number, now: number): string {
  return now - at < 43_200 ? time(at) : day.format(at * 1000)
}

/** The telling end of an id: the beginning is the time and the same for all of a minute. */
export function shortId(id: string): string {
  const [prefix, rest] = [id.slice(0, id.indexOf('-')), id.slice(id.indexOf('-') + 1)]
  return rest.length > 12 && prefix ? `${prefix}-${rest.slice(-6)}` : id
}

export function plural(n: number, one: string, many = `${one}s`): string {
  return `${count(n)} ${n === 1 ? one : many}`
}
