import { Connection, type Status } from './connection'
import {
  RATES, type Box, type Branch, type Delta, type Frame, type Node, type RateName, type Rates, type Snapshot,
  type Task, type TrafficRow, type Workspace,
} from './protocol'

export const TRAFFIC_KEPT = 5000
const HISTORY_KEPT = 300

/** A row as the page holds it: numbered, with what the filter looks at prepared once. */
export interface Seen extends TrafficRow { n: number; hay: string }

type TableName = 'boxes' | 'nodes' | 'tasks' | 'branches' | 'workspaces'
const TABLES: TableName[] = ['boxes', 'nodes', 'tasks', 'branches', 'workspaces']

/**
 * The state of the installation as of the newest frame. Frames change plain maps as they come; what the views see
 * is exchanged at most once per painted picture, so a fast feed costs no more than a slow one.
 */
class Live {
  status = $state<Status>('connecting')
  tenant = $state('')
  boxes = $state.raw<Box[]>([])
  nodes = $state.raw<Node[]>([])
  tasks = $state.raw<Task[]>([])
  branches = $state.raw<Branch[]>([])
  workspaces = $state.raw<Workspace[]>([])
  traffic = $state.raw<Seen[]>([]) // newest last
  rates = $state.raw<Rates | undefined>(undefined)
  history = $state.raw<{ at: number[] } & Record<RateName, number[]>>(emptyHistory())
  deadletters = $state(0)
  health = $state.raw<{ bus?: string; store?: string }>({})
  missed = $state(0)
  heardAt = $state(0)
  /** Server time, moved on once a second. */
  now = $state(Date.now() / 1000)

  private maps: { [K in TableName]: Map<string, unknown> } = {
    boxes: new Map(), nodes: new Map(), tasks: new Map(), branches: new Map(), workspaces: new Map(),
  }
  private rows: Seen[] = []
  private count = 0
  private points = emptyHistory()
  private head: Snapshot | Delta | undefined
  private dirty = new Set<TableName | 'traffic' | 'history'>()
  private scheduled = false
  private connection = new Connection((frame) => this.take(frame), (status) => (this.status = status))
  private offset = 0 // server time minus ours

  start(): void {
    this.connection.open()
    setInterval(() => (this.now = this.time()), 1000)
  }

  /** Call after changing something: the feed shows it at once. */
  refresh(): void {
    this.connection.refresh()
  }

  /** Server time at this moment. */
  time(): number {
    return Date.now() / 1000 + this.offset
  }

  private take(frame: Frame): void {
    if (frame.type === 'missed') {
      this.missed += frame.rows
      return
    }
    this.offset = frame.at - Date.now() / 1000
    if (frame.type === 'snapshot') this.replace(frame)
    else this.apply(frame)
    this.head = frame
    this.schedule()
  }

  private replace(frame: Snapshot): void {
    this.tenant = frame.tenant
    for (const table of TABLES) {
      const rows = frame[table] as { key?: string; id?: string; name: string }[]
      this.maps[table] = new Map(rows.map((row) => [row.key ?? row.id ?? row.name, row]))
      this.dirty.add(table)
    }
    this.rows = []
    this.hear(frame.traffic)
    const length = frame.history.messages_s.length
    this.points = { at: Array.from({ length }, (_, i) => Math.floor(frame.at) - length + 1 + i), ...frame.history }
    this.dirty.add('history')
  }

  private apply(frame: Delta): void {
    for (const table of TABLES) {
      const changes = frame[table]
      if (!changes) continue
      const map = this.maps[table]
      for (const [id, row] of Object.entries(changes)) {
        if (row === null) map.delete(id)
        else map.set(id, row)
      }
      this.dirty.add(table)
    }
    this.hear(frame.traffic)
    const second = Math.floor(frame.at)
    if (second > (this.points.at.at(-1) ?? 0)) {
      this.points.at.push(second)
      for (const name of RATES) this.points[name].push(frame.rates[name])
      if (this.points.at.length > HISTORY_KEPT) for (const column of Object.values(this.points)) column.shift()
      this.dirty.add('history')
    }
  }

  private hear(rows: TrafficRow[]): void {
    if (!rows.length) return
    for (const row of rows) {
      const hay = `${row.sender} ${row.to} ${row.name} ${row.kind} ${row.branch ?? ''}`.toLowerCase()
      this.rows.push({ ...row, n: this.count++, hay })
    }
    if (this.rows.length > TRAFFIC_KEPT * 1.2) this.rows = this.rows.slice(-TRAFFIC_KEPT)
    this.dirty.add('traffic')
  }

  private schedule(): void {
    if (this.scheduled) return
    this.scheduled = true
    requestAnimationFrame(() => {
      this.scheduled = false
      this.show()
    })
  }

  private show(): void {
    for (const table of TABLES) {
      if (this.dirty.has(table)) (this as Record<TableName, unknown>)[table] = [...this.maps[table].values()]
    }
    if (this.dirty.has('traffic')) this.traffic = this.rows.slice()
    if (this.dirty.has('history')) this.history = { ...this.points }
    this.dirty.clear()
    if (!this.head) return
    this.rates = this.head.rates
    this.deadletters = this.head.deadletters
    this.health = this.head.health
    this.heardAt = this.head.at
  }
}

function emptyHistory(): { at: number[] } & Record<RateName, number[]> {
  return { at: [], messages_s: [], events_s: [], calls_s: [], signals_s: [], reports_s: [] }
}

export const live = new Live()
