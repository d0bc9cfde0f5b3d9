/** The frames of `/api/v1/feed` and the rows in them; times are seconds since the epoch. */

export type BoxState = 'starting' | 'ready' | 'stopping' | 'stopped' | 'failed'
export type TaskState =
  | 'submitted' | 'working' | 'input_required' | 'auth_required'
  | 'completed' | 'failed' | 'canceled' | 'rejected'
export type BranchState = 'open' | 'committed' | 'discarded' | 'superseded'
export type TrafficKind = 'message' | 'event' | 'signal' | 'call' | 'report'

export interface Fault { code: string; message: string }

export interface Box {
  key: string // several instances may share an address
  id: string
  kind: 'live' | 'attached' | 'system'
  state: BoxState
  isolation: string
  box?: string
  node?: string
  driver?: string
  branching?: string
  reaches?: string
  branch?: string
  owner?: string
  instance?: string
  fingerprint?: string
  description?: string
  calls?: number
  pid?: number
  started_at?: number
  reason?: string
  skills: { name: string; streaming: boolean; effect: string }[]
}

export interface Node {
  name: string
  state: 'ready' | 'draining' | 'gone'
  labels: Record<string, string>
  drivers: { name: string; isolation: string; branching: string; available: boolean; reason: string }[]
  cpus: number
  memory_bytes: number
  max_boxes: number
  max_attempts: number
  boxes: number
  attempts: number
  templates: number
  started_at: number
}

export interface Attempt {
  number: number
  runner: string
  state: 'assigned' | 'running' | 'ended' | 'lost' | 'refused'
  assigned_at: number
  box?: string
  started_at?: number
  ended_at?: number
  error?: Fault
  stopping?: Fault
}

export interface Task {
  id: string
  box: string
  skill: string
  state: TaskState
  created_at: number
  updated_at: number
  updates: number
  attempts: Attempt[]
  branch?: string
  parent?: string
  priority?: number
  submitter?: string
  pending?: string
  not_before?: number
  error?: Fault
  cancel?: { requested_at: number; by?: string; reason?: string; acknowledged_at?: number; stopped_at?: number }
}

export interface Branch {
  id: string
  workspace: string
  state: BranchState
  name?: string
  parent?: string
  base?: string
  head?: string
  conversation?: string
  owner?: string
  group?: string
  created_at?: number
  ended_at?: number
  committed_tree?: string
  metadata?: Record<string, unknown>
}

export interface Workspace { id: string; name: string; root: string; owner?: string; created_at?: number }

export interface TrafficRow {
  at: number
  kind: TrafficKind
  sender: string
  to: string
  name: string
  id: string
  bytes: number
  preview: string
  failed?: boolean // a call that was answered with an error
  branch?: string
  causation?: string
  correlation?: string
}

export const RATES = ['messages_s', 'events_s', 'calls_s', 'signals_s', 'reports_s'] as const
export type RateName = (typeof RATES)[number]
export type Rates = Record<RateName, number> & { presence_s: number; dropped: number; sampled: RateName[] }

interface Head {
  seq: number
  at: number
  rates: Rates
  deadletters: number
  health: { bus?: string; store?: string }
}

export interface Snapshot extends Head {
  type: 'snapshot'
  tenant: string
  boxes: Box[]
  nodes: Node[]
  tasks: Task[]
  branches: Branch[]
  workspaces: Workspace[]
  traffic: TrafficRow[]
  history: Record<RateName, number[]>
}

type Changes<T> = Record<string, T | null>

export interface Delta extends Head {
  type: 'delta'
  traffic: TrafficRow[]
  boxes?: Changes<Box>
  nodes?: Changes<Node>
  tasks?: Changes<Task>
  branches?: Changes<Branch>
  workspaces?: Changes<Workspace>
}

/** This page was too slow; a snapshot follows. */
export interface Missed { type: 'missed'; frames: number; rows: number }

export type Frame = Snapshot | Delta | Missed
