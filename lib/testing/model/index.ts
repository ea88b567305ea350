/** A hypervisor in pure TypeScript: for tests that must be deterministic, and for machines without Xen. */

export type { Quota } from '../xenstored/quota.js';
export type { ModelStore } from '../xenstored/store.js';
export { createModel, Model, ModelGuest, type ModelGuestOptions } from './create-model.js';
export type { HandleDescriptors, OpenHandle } from './event-handles.js';
export type { HostCall, HostFails, ModelFaults } from './faults.js';
export { ModelHypervisor, type ModelOptions } from './hypervisor.js';
export { ModelKilled, type OnStep } from './instance.js';
export type { InstanceOptions, ModelXen } from './xen.js';
