/**
 * The nodes of the model's store and the operations on them. Rules and errors are those of Xen's C xenstored
 * (tools/xenstore/xenstored_core.c, 4.17); the text of the protocol is docs/misc/xenstore.txt.
 */

import type { Permission } from '../../xen/seam.js';
import { type StoreErrno, storeError } from '../../xen/store/wire.js';
import { ancestors, baseName, childPath, parentPath } from './paths.js';
import { accessFor, isPrivileged, MAY_OWN, MAY_READ, MAY_WRITE, ownerOf } from './permissions.js';
import type { Quota } from './quota.js';

/** Immutable: a change makes a new one. Transactions rely on it. */
export interface StoreNode {
  readonly value: Buffer;
  readonly permissions: readonly Permission[];
  /** Names, oldest first. */
  readonly children: readonly string[];
  /** Differs between any two states of any two nodes. */
  readonly generation: number;
}

/** Nodes by path: the store itself, or a transaction's view of it. */
export interface NodeTable {
  get(path: string): StoreNode | undefined;
  set(path: string, node: Omit<StoreNode, 'generation'>): void;
  delete(path: string): void;
  /** How many nodes a domain owns. */
  owned(domid: number): number;
}

/** A change that watches may get. */
export interface Change {
  readonly path: string;
  /** Whether only watches on this path itself fire, as for the nodes below a removed one. */
  readonly exact: boolean;
  /** The permissions of the node, its earlier ones and those of its parent: a domain that may read by any of them may learn of the change. */
  readonly visibility: readonly (readonly Permission[])[];
}

/** One request's view of the store: its table and its domain. */
export interface Scope {
  readonly table: NodeTable;
  readonly domid: number;
  readonly quota: Quota;
  /** The request's type, for errors. */
  readonly type: number;
  changed(change: Change): void;
}

const EMPTY = Buffer.alloc(0);

export function readNode(scope: Scope, path: string): StoreNode {
  return find(scope, path, MAY_READ) ?? fail(scope, path, 'ENOENT');
}

/** Writes a node, and creates it and its parents if they are missing. @param value is stored, so pass a copy. */
export function writeNode(scope: Scope, path: string, value: Buffer): void {
  const node = find(scope, path, MAY_WRITE);
  if (node === undefined) create(scope, path, value);
  else store(scope, path, { ...node, value });
  announce(scope, path);
}

/** Creates a node. An existing node is unchanged, and no watch fires. */
export function makeNode(scope: Scope, path: string): void {
  if (find(scope, path, MAY_WRITE) !== undefined) return;
  create(scope, path, EMPTY);
  announce(scope, path);
}

/** @throws ENOENT only if the parent does not exist either. */
export function removeNode(scope: Scope, path: string): void {
  const node = find(scope, path, MAY_WRITE);
  const parent = scope.table.get(parentPath(path));
  if (path === '/') fail(scope, path, 'EINVAL');
  if (parent === undefined) fail(scope, path, 'ENOENT');
  if (node === undefined) return;
  announce(scope, path);
  removeBelow(scope, path, node);
  scope.table.delete(path);
  const name = baseName(path);
  scope.table.set(parentPath(path), {
    ...parent,
    children: parent.children.filter((child) => child !== name),
  });
}

export function setNodePermissions(scope: Scope, path: string, permissions: readonly Permission[]): void {
  const privileged = isPrivileged(scope.domid);
  if (!privileged && permissions.length > scope.quota.permissionsPerNode) fail(scope, path, 'ENOSPC');
  const node = find(scope, path, MAY_WRITE | MAY_OWN) ?? fail(scope, path, 'ENOENT');
  if (!privileged && ownerOf(permissions) !== ownerOf(node.permissions)) fail(scope, path, 'EPERM');
  store(scope, path, { ...node, permissions });
  // Domains that may not read it any longer learn of that.
  announce(scope, path, node.permissions);
}

/** @throws the store's error if the domain lacks the rights; the error reveals nothing about nodes that the domain cannot read. */
function find(scope: Scope, path: string, need: number): StoreNode | undefined {
  const node = scope.table.get(path);
  if (node !== undefined && (accessFor(scope.domid, node.permissions) & need) === need) return node;
  if (node !== undefined) fail(scope, path, 'EACCES');
  // A domain may learn whether a node exists if it has the same rights on the closest existing parent.
  for (const above of ancestors(parentPath(path))) {
    const parent = scope.table.get(above);
    if (parent === undefined) continue;
    if ((accessFor(scope.domid, parent.permissions) & need) === 0) fail(scope, path, 'EACCES');
    break;
  }
  return undefined;
}

/** Creates all nodes or none: checks the quotas before it writes. */
function create(scope: Scope, path: string, value: Buffer): void {
  const missing: string[] = [];
  let above = path;
  for (; scope.table.get(above) === undefined; above = parentPath(above)) missing.unshift(above);
  const parent = scope.table.get(above)!;
  const privileged = isPrivileged(scope.domid);
  const { table, quota } = scope;
  if (!privileged && table.owned(scope.domid) + missing.length > quota.entries) fail(scope, path, 'ENOSPC');
  const permissions = inherit(scope.domid, parent.permissions);
  const created = missing.map((at, index) => ({
    at,
    node: {
      value: at === path ? value : EMPTY,
      permissions,
      children: index + 1 < missing.length ? [baseName(missing[index + 1]!)] : [],
    },
  }));
  created.unshift({
    at: above,
    node: { ...parent, children: [...parent.children, baseName(missing[0]!)] } as (typeof created)[0]['node'],
  });
  for (const { node } of created) requireSize(scope, path, node);
  for (const { at, node } of created) table.set(at, node);
}

/** Permissions are the parent's, but an unprivileged domain owns what it creates. */
function inherit(domid: number, permissions: readonly Permission[]): readonly Permission[] {
  const [first, ...others] = permissions;
  if (isPrivileged(domid) || first === undefined) return permissions;
  return [{ ...first, domid }, ...others];
}

function store(scope: Scope, path: string, node: Omit<StoreNode, 'generation'>): void {
  requireSize(scope, path, node);
  scope.table.set(path, node);
}

/** struct xs_tdb_record_hdr (24 bytes, padded), 8 a permission, the value, the children's names with their NULs. */
function requireSize(scope: Scope, path: string, node: Omit<StoreNode, 'generation'>): void {
  if (isPrivileged(scope.domid)) return;
  const names = node.children.reduce((bytes, name) => bytes + name.length + 1, 0);
  const size = 24 + 8 * node.permissions.length + node.value.length + names;
  if (size >= scope.quota.nodeBytes) fail(scope, path, 'ENOSPC');
}

/** Watches on the nodes below a removed one fire too, each with its own path (xenstore.txt, WATCH_EVENT). */
function removeBelow(scope: Scope, path: string, node: StoreNode): void {
  for (const name of node.children) {
    const at = childPath(path, name);
    const child = scope.table.get(at);
    // Another commit removed it after this transaction had read its parent. The commit will find this conflict.
    if (child === undefined) continue;
    scope.changed({ path: at, exact: true, visibility: [child.permissions, node.permissions] });
    removeBelow(scope, at, child);
    scope.table.delete(at);
  }
}

function announce(scope: Scope, path: string, earlier?: readonly Permission[]): void {
  const seen = [scope.table.get(path), scope.table.get(parentPath(path))].map(
    (node) => node?.permissions ?? [],
  );
  scope.changed({ path, exact: false, visibility: earlier === undefined ? seen : [...seen, earlier] });
}

function fail(scope: Scope, path: string, errno: StoreErrno): never {
  throw storeError(errno, scope.type, path);
}
